// An origin on the JDK's own HTTP parser. It says in a header what it saw, and nothing else.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.concurrent.Executors;

public class Origin {
    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        server.createContext("/", Origin::answer);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
        System.out.println(server.getAddress().getPort());
    }

    private static void answer(HttpExchange exchange) throws IOException {
        byte[] body = exchange.getRequestBody().readAllBytes();
        String seen = "{\"method\": %s, \"target\": %s, \"host\": %s, \"bytes\": %d, \"sha256\": \"%s\"}".formatted(
                quote(exchange.getRequestMethod()),
                quote(exchange.getRequestURI().toString()),
                quote(exchange.getRequestHeaders().getFirst("host")),
                body.length,
                digest(body));
        exchange.getResponseHeaders().set("x-seen", seen);
        exchange.sendResponseHeaders(200, -1);
        exchange.close();
    }

    private static String quote(String text) {
        return text == null ? "null" : '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    private static String digest(byte[] body) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body));
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }
}
