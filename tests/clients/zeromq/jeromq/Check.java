import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.stream.Stream;
import org.zeromq.SocketType;
import org.zeromq.ZContext;
import org.zeromq.ZMQ;
import org.zeromq.ZMonitor;
import org.zeromq.ZMsg;

/**
 * Check STEP: what every ZeroMQ client is tried for: pipeline, publish-subscribe, request, dealer, router, heartbeats, restart, refused. Prints
 * ok at the end. ZMQ_PUSH, ZMQ_PULL, ZMQ_PUB, ZMQ_SUB, ZMQ_REQ and ZMQ_REP are where a socket of that type connects to.
 */
public class Check {
    static final ZContext CONTEXT = new ZContext();

    public static void main(String[] arguments) throws Exception {
        CONTEXT.setLinger(0);
        switch (arguments[0]) {
            case "pipeline" -> pipeline();
            case "publish-subscribe" -> publishSubscribe();
            case "request" -> request();
            case "dealer" -> dealer();
            case "router" -> router();
            case "heartbeats" -> heartbeats();
            case "restart" -> restart();
            case "refused" -> refused();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        System.out.println("ok");
        System.exit(0);
    }

    static void must(boolean held, Object what) {
        if (!held) throw new AssertionError(what);
    }

    static ZMQ.Socket made(SocketType type, String name) {
        ZMQ.Socket socket = CONTEXT.createSocket(type);
        socket.setReceiveTimeOut(10_000);
        socket.setSendTimeOut(10_000);
        socket.setReconnectIVL(50);
        if (System.getenv("ZMQ_USER") != null) {
            socket.setPlainUsername(System.getenv("ZMQ_USER").getBytes());
            socket.setPlainPassword(System.getenv("ZMQ_PASSWORD").getBytes());
        }
        if (System.getenv("ZMQ_PUBLIC") != null) {
            socket.setCurvePublicKey(ZMQ.Curve.z85Decode(System.getenv("ZMQ_PUBLIC")));
            socket.setCurveSecretKey(ZMQ.Curve.z85Decode(System.getenv("ZMQ_SECRET")));
            socket.setCurveServerKey(ZMQ.Curve.z85Decode(System.getenv("ZMQ_" + name + "_KEY")));
        }
        return socket;
    }

    static ZMQ.Socket connected(SocketType type, String name) {
        ZMQ.Socket socket = made(type, name);
        must(socket.connect(System.getenv("ZMQ_" + name)), name);
        return socket;
    }

    static void send(ZMQ.Socket socket, List<String> parts) {
        for (int at = 0; at < parts.size(); at++) {
            byte[] part = parts.get(at).getBytes(StandardCharsets.ISO_8859_1);
            must(socket.send(part, at < parts.size() - 1 ? ZMQ.SNDMORE : 0), "not sent: " + socket.errno());
        }
    }

    /** The parts of the next message; octets as characters of Latin 1. */
    static List<String> receive(ZMQ.Socket socket) {
        List<String> parts = new ArrayList<>();
        do {
            byte[] part = socket.recv();
            must(part != null, "nothing came: " + socket.errno());
            parts.add(new String(part, StandardCharsets.ISO_8859_1));
        } while (socket.hasReceiveMore());
        return parts;
    }

    static void pipeline() {
        ZMQ.Socket push = connected(SocketType.PUSH, "PUSH"), pull = connected(SocketType.PULL, "PULL");
        List<List<String>> messages = new ArrayList<>(List.of(
            List.of("one"), List.of(""), List.of("a", "", "ccc", ""), List.of("x".repeat(255)), List.of("x".repeat(256), "y".repeat(100_000))));
        for (int number = 0; number < 100; number++) messages.add(List.of("" + number));
        for (List<String> message : messages) send(push, message);
        for (List<String> message : messages) must(receive(pull).equals(message), message);
    }

    static void publishSubscribe() {
        ZMQ.Socket pub = connected(SocketType.PUB, "PUB"), sub = connected(SocketType.SUB, "SUB");
        subscribed(pub, sub, "price.");
        for (List<String> message : List.of(List.of("price.eur", "1"), List.of("news", "none"), List.of("price.usd", "", "2"), List.of("price"))) {
            send(pub, message);
        }
        sub.subscribe("weather");
        List<String> first = receive(sub), second = receive(sub);
        must(first.equals(List.of("price.eur", "1")) && second.equals(List.of("price.usd", "", "2")), first + " " + second);
        sub.unsubscribe("price.");
        subscribed(pub, sub, "end");
        send(pub, List.of("price.gbp", "3"));
        send(pub, List.of("end", "last"));
        List<String> last = receive(sub);
        must(last.equals(List.of("end", "last")), last);
    }

    /** Until the subscription is known, publishes what it is for; then passes over what came of that. */
    static void subscribed(ZMQ.Socket pub, ZMQ.Socket sub, String topic) {
        sub.subscribe(topic);
        ZMQ.Poller poller = CONTEXT.createPoller(1);
        poller.register(sub, ZMQ.Poller.POLLIN);
        for (int number = 0; number < 200; number++) {
            send(pub, List.of(topic, "are you there"));
            if (poller.poll(50) > 0) break;
        }
        send(pub, List.of(topic, "now"));
        while (!receive(sub).equals(List.of(topic, "now"))) { }
    }

    static void request() {
        ZMQ.Socket client = connected(SocketType.REQ, "REQ"), worker = connected(SocketType.REP, "REP");
        for (int number = 0; number < 20; number++) {
            List<String> asked = List.of("what is", "", "" + number), told = List.of("it is", "" + number);
            send(client, asked);
            must(receive(worker).equals(asked), asked);
            send(worker, told);
            must(receive(client).equals(told), told);
        }
    }

    static void dealer() {
        ZMQ.Socket client = connected(SocketType.DEALER, "REQ"), worker = connected(SocketType.DEALER, "REP");
        send(client, List.of("", "one"));
        send(client, List.of("", "two", "parts"));
        for (List<String> body : List.of(List.of("one"), List.of("two", "parts"))) {
            List<String> message = receive(worker);
            int end = message.indexOf("") + 1;
            must(message.subList(end, message.size()).equals(body), message);
            send(worker, Stream.of(message.subList(0, end), List.of("re"), body).flatMap(List::stream).toList());
        }
        List<String> replies = new ArrayList<>(List.of(String.join("|", receive(client)), String.join("|", receive(client))));
        Collections.sort(replies);
        must(replies.equals(List.of("|re|one", "|re|two|parts")), replies);
    }

    static void router() {
        ZMQ.Socket client = made(SocketType.REQ, "REQ"), worker = connected(SocketType.ROUTER, "REP");
        client.setIdentity("client".getBytes());
        client.connect(System.getenv("ZMQ_REQ"));
        for (int number = 0; number < 5; number++) {
            send(client, List.of("" + number));
            List<String> message = receive(worker);
            int last = message.size() - 1;
            must(message.get(last).equals("" + number) && message.get(last - 1).isEmpty(), message);
            send(worker, Stream.of(message.subList(0, last), List.of("re", "" + number)).flatMap(List::stream).toList());
            List<String> reply = receive(client);
            must(reply.equals(List.of("re", "" + number)), reply);
        }
    }

    static void heartbeats() throws InterruptedException {
        ZMQ.Socket push = made(SocketType.PUSH, "PUSH"), pull = made(SocketType.PULL, "PULL");
        for (ZMQ.Socket socket : List.of(push, pull)) {
            socket.setHeartbeatIvl(100);
            socket.setHeartbeatTtl(600);
            socket.setHeartbeatTimeout(500);
        }
        push.connect(System.getenv("ZMQ_PUSH"));
        pull.connect(System.getenv("ZMQ_PULL"));
        send(push, List.of("before"));
        must(receive(pull).equals(List.of("before")), "before");
        try (ZMonitor monitor = new ZMonitor(CONTEXT, push)) {
            monitor.add(ZMonitor.Event.DISCONNECTED).start();
            ZMonitor.ZEvent event = monitor.nextEvent(1500);
            must(event == null, "PINGs were not answered: " + event);
        }
        send(push, List.of("after"));
        must(receive(pull).equals(List.of("after")), "after");
    }

    static void restart() throws Exception {
        ZMQ.Socket push = connected(SocketType.PUSH, "PUSH"), pull = connected(SocketType.PULL, "PULL");
        send(push, List.of("before"));
        must(receive(pull).equals(List.of("before")), "before");
        System.out.println("ready");
        System.in.read();
        ZMQ.Poller poller = CONTEXT.createPoller(1);
        poller.register(pull, ZMQ.Poller.POLLIN);
        for (int number = 0; number < 100; number++) {
            send(push, List.of("after"));
            if (poller.poll(100) > 0) {
                must(receive(pull).equals(List.of("after")), "after");
                return;
            }
        }
        throw new AssertionError("nothing came after the restart");
    }

    /** JeroMQ says only that the connection has ended, whatever ZMQ_EVENT is, and keeps what is sent: it must not arrive. */
    static void refused() throws Exception {
        ZMQ.Socket push = made(SocketType.PUSH, "PUSH");
        try (ZMonitor monitor = new ZMonitor(CONTEXT, push)) {
            monitor.add(ZMonitor.Event.ALL).start();
            push.connect(System.getenv("ZMQ_PUSH"));
            List<ZMonitor.Event> seen = new ArrayList<>();
            while (!seen.contains(ZMonitor.Event.DISCONNECTED)) {
                ZMonitor.ZEvent event = monitor.nextEvent(10_000);
                must(event != null, "it was not refused: " + seen);
                seen.add(event.type);
            }
        }
        push.send("secret");
        Thread.sleep(300);
    }
}
