plugin_directory = "/plugins"
