// SPDX-License-Identifier: MPL-2.0

// Builds a proxy from the simulator's WSDL and calls it. stdin: the settings;
// stdout: what came back, both JSON.
const fs = require('fs');
const soap = require('soap');

async function main() {
  const given = JSON.parse(fs.readFileSync(0));
  const client = await soap.createClientAsync(given.wsdl, { forceSoap12Headers: given.soap12 });
  const call = async (op, args) => (await client[op + 'Async'](args))[0]?.[op + 'Result'];

  const SessionID = await call('Login', { LoginName: given.login, Password: given.password });
  const UserID = given.user_id;
  const me = await call('WhoAmI', { SessionID });
  const answers = {
    login_name: me.LoginName,
    auth_level: me.AuthLevel,
    last_login_year: new Date(me.LastLogin).getUTCFullYear(),
    key: await call('UserGetAPIKey', { SessionID, UserID }),
    no_key: (await call('UserGetAPIKey', { SessionID, UserID: given.keyless_id })) ?? null,
    status: (await call('UserInfo', { SessionID, UserID })).Status,
    users: (await call('UserList', { SessionID })).UserIDInfo.map((u) => u.LoginName),
    changed: await call('ChangePassword', { SessionID, OldPassword: given.password, NewPassword: given.new_password }),
    new_key: await call('GenerateAPIKey', { SessionID, UserID }),
    reset: await call('UserReset', { SessionID, UserID }),
    version: await call('Version', {}),
  };
  try {
    await call('UserInfo', { SessionID, UserID: 4711 });
  } catch (e) {
    const fault = e.root.Envelope.Body.Fault;
    answers.fault = fault.faultstring ?? fault.Reason.Text.$value ?? fault.Reason.Text;
  }
  answers.logout = await call('Logout', { SessionID });
  process.stdout.write(JSON.stringify(answers));
}

main().catch((e) => {
  process.stderr.write(`${e.message}\n`);
  process.exit(1);
});
