// ActiveMQ's own StompConnection. Its receiveFrame() waits for a line feed behind the NUL.

import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import org.apache.activemq.transport.stomp.StompConnection;
import org.apache.activemq.transport.stomp.StompFrame;

public class Client {
    static final long PATIENCE = 10_000;

    static String host;
    static int port;
    static String version;

    static StompConnection connect() throws Exception {
        StompConnection client = new StompConnection();
        client.setVersion(version);
        client.open(host, port);
        client.getStompSocket().setSoTimeout((int) PATIENCE);
        client.sendFrame("CONNECT\naccept-version:" + version + "\nhost:localhost\n\n\0");
        StompFrame connected = client.receive(PATIENCE);
        System.out.println(connected.getAction() + " " + connected.getHeaders().get("version"));
        return client;
    }

    static HashMap<String, String> headers(String text) {
        HashMap<String, String> found = new HashMap<>();
        for (String pair : text.split("&")) {
            if (!pair.isEmpty()) {
                found.put(pair.substring(0, pair.indexOf('=')), pair.substring(pair.indexOf('=') + 1));
            }
        }
        return found;
    }

    static void tell(StompFrame frame) {
        String body = frame.getBody() == null ? "" : frame.getBody();
        System.out.println(frame.getAction() + " " + frame.getHeaders().getOrDefault("a", "-") + " "
            + Base64.getEncoder().encodeToString(body.getBytes(StandardCharsets.UTF_8)));
    }

    public static void main(String[] words) throws Exception {
        host = words[0];
        port = Integer.parseInt(words[1]);
        version = words[2];
        StompConnection client = connect();
        switch (words[3]) {
            case "queue":
                for (int i = 4; i < words.length; i++) {
                    HashMap<String, String> headers = new HashMap<>();
                    headers.put("a", "b");
                    headers.put("receipt", "r" + i);
                    client.send("/queue/letters", words[i], null, headers);
                    tell(client.receive(PATIENCE));
                }
                HashMap<String, String> subscription = new HashMap<>();
                subscription.put("id", "s1");
                client.subscribe("/queue/letters", "client", subscription);
                StompFrame last = null;
                for (int i = 4; i < words.length; i++) {
                    last = client.receive(PATIENCE);
                    tell(last);
                }
                String name = version.equals("1.2") ? "id:" + last.getHeaders().get("ack")
                    : "subscription:s1\nmessage-id:" + last.getHeaders().get("message-id");
                client.sendFrame("ACK\n" + name + "\nreceipt:acked\n\n\0");
                tell(client.receive(PATIENCE));
                break;
            case "transaction":
                client.begin("t1");
                client.send("/queue/bills", words[4], "t1", null);
                client.commit("t1");
                client.begin("t2");
                client.send("/queue/bills", "never", "t2", null);
                client.abort("t2");
                HashMap<String, String> id = new HashMap<>();
                id.put("id", "s1");
                client.subscribe("/queue/bills", "auto", id);
                tell(client.receive(PATIENCE));
                break;
            case "raw":
                for (int i = 4; i < words.length; i++) {
                    client.send("/queue/raw", words[i]);
                }
                client.sendFrame("SUBSCRIBE\nid:s1\ndestination:/queue/raw\n\n\0");
                for (int i = 4; i < words.length; i++) {
                    String frame = client.receiveFrame(PATIENCE).stripLeading();
                    System.out.println(frame.split("\n", 2)[0] + " - " + Base64.getEncoder()
                        .encodeToString(frame.substring(frame.indexOf("\n\n") + 2).trim().getBytes(StandardCharsets.UTF_8)));
                }
                break;
            case "subscribe":
                // destination, headers, how many messages are to come, then each SEND:
                // destination, headers, body. Headers are NAME=VALUE with "&" between.
                client.subscribe(words[4], "auto", headers("id=s1&receipt=there&" + words[5]));
                tell(client.receive(PATIENCE));
                int coming = Integer.parseInt(words[6]);
                for (int i = 7; i + 2 < words.length; i += 3) {
                    client.send(words[i], words[i + 2], null, headers(words[i + 1]));
                }
                for (int i = 0; i < coming; i++) {
                    tell(client.receive(PATIENCE));
                }
                break;
            case "error":
                client.send("/nowhere/at/all", "x");
                tell(client.receive(PATIENCE));
                break;
            default:
                throw new IllegalArgumentException(words[3]);
        }
        client.sendFrame("DISCONNECT\nreceipt:bye\n\n\0");
        if (!words[3].equals("error")) {
            tell(client.receive(PATIENCE));
        }
        client.close();
    }
}
