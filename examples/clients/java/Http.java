import java.io.IOException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;

/** What the calls to ECGrid and to Vault share. */
final class Http {
    private Http() {}

    static HttpResponse<String> get(HttpClient http, HttpRequest.Builder request, String server)
            throws IOException, InterruptedException {
        try {
            return http.send(request.timeout(EcgridClient.TIMEOUT).build(), BodyHandlers.ofString());
        } catch (IOException e) {
            String reason = e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
            throw new EcgridException(server + " gave no answer: " + reason, e);
        }
    }

    /** Refuses what cannot be in a header. The error of HttpRequest would show it. */
    static String visible(String value, String from) throws EcgridException {
        if (value == null || !value.matches("[!-~]+")) {
            throw new EcgridException(from + " must hold one line of visible ASCII characters: check what writes it");
        }
        return value;
    }
}
