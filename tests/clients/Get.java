import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/**
 * One GET with the JDK's own client: {@code java Get.java URL}. Proxy and trust store come from JAVA_TOOL_OPTIONS.
 * Prints the status and the body. It names no proxy, no certificate and no credential of its own.
 */
final class Get {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newBuilder().proxy(ProxySelector.getDefault()).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        var reply = client.send(request, BodyHandlers.ofString());
        System.out.println(reply.statusCode());
        System.out.println(reply.body());
    }
}
