// SPDX-License-Identifier: MPL-2.0

using System;
using System.Globalization;
using System.Linq;
using System.Threading.Tasks;

namespace EdiGateway
{
    /// <summary>Shows how an application calls ECGrid with a key from Vault. See ../README.md for its settings.</summary>
    internal static class Program
    {
        private static int Main()
        {
            Run().GetAwaiter().GetResult();
            return 0;
        }

        private static async Task Run()
        {
            var interval = double.Parse(Setting("INTERVAL", "10"), CultureInfo.InvariantCulture); // seconds
            var callers = int.Parse(Setting("CALLERS", "1"), CultureInfo.InvariantCulture);
            using (var client = new EcgridClient(Setting("ECGRID_URL", "https://rest.ecgrid.io/v2"), ReadKey()))
            {
                while (true)
                {
                    await Task.WhenAll(Enumerable.Range(0, callers).Select(_ => Call(client)));
                    await Task.Delay(TimeSpan.FromSeconds(interval));
                }
            }
        }

        private static async Task Call(EcgridClient client)
        {
            try
            {
                Console.WriteLine("ok " + (await client.GetMeAsync()).Login);
            }
            catch (EcgridException e)
            {
                Console.WriteLine("error: " + e.Message);
            }
        }

        private static Func<Task<string>> ReadKey()
        {
            var file = Setting("ECGRID_API_KEY_FILE", "");
            return file != ""
                ? KeySource.FromFile(file)
                : KeySource.FromVault(
                    Setting("VAULT_ADDR", "https://127.0.0.1:8200"),
                    Setting("ECGRID_VAULT_PATH", "ecgrid/static-creds/edi-gateway"),
                    Setting("VAULT_TOKEN", ""),
                    Setting("VAULT_TOKEN_FILE", ""),
                    Setting("VAULT_NAMESPACE", ""));
        }

        private static string Setting(string name, string standard)
        {
            var value = Environment.GetEnvironmentVariable(name);
            return string.IsNullOrEmpty(value) ? standard : value;
        }
    }
}
