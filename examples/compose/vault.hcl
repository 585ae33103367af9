# SPDX-License-Identifier: MPL-2.0

plugin_directory = "/plugins"
