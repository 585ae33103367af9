# SPDX-License-Identifier: MPL-2.0

"""Builds a proxy from the simulator's WSDL and calls it. stdin: the settings; stdout: what came back, both JSON."""

import json
import sys

import zeep

given = json.load(sys.stdin)
service = zeep.Client(given["wsdl"], port_name=given["port"]).service

session = service.Login(given["login"], given["password"])
me = service.WhoAmI(session)
answers = {
    "login_name": me.LoginName,
    "auth_level": me.AuthLevel,
    "last_login_year": me.LastLogin.year,
    "key": service.UserGetAPIKey(session, given["user_id"]),
    "no_key": service.UserGetAPIKey(session, given["keyless_id"]),
    "status": service.UserInfo(session, given["user_id"]).Status,
    "users": [u.LoginName for u in service.UserList(session)],
    "changed": service.ChangePassword(session, given["password"], given["new_password"]),
    "new_key": service.GenerateAPIKey(session, given["user_id"]),
    "reset": service.UserReset(session, given["user_id"]),
    "version": service.Version(),
}
try:
    service.UserInfo(session, 4711)
except zeep.exceptions.Fault as fault:
    answers["fault"] = fault.message
answers["logout"] = service.Logout(session)
json.dump(answers, sys.stdout)
