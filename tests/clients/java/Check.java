import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** Check STEP: what every client is tried for: deliver, confirm, transaction, refused-login, refused-queue. Prints ok at the end. */
public class Check {
    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "deliver" -> deliver();
            case "confirm" -> confirm();
            case "transaction" -> transaction();
            case "refused-login" -> refusedLogin();
            case "refused-queue" -> refusedQueue();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        System.out.println("ok");
    }

    static Connection connect(String password) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost(System.getenv().getOrDefault("AMQP_HOST", "localhost"));
        factory.setPort(Integer.parseInt(System.getenv().getOrDefault("AMQP_PORT", "5672")));
        factory.setPassword(password);
        return factory.newConnection();
    }

    static void must(boolean held, Object what) {
        if (!held) throw new AssertionError(what);
    }

    static void deliver() throws Exception {
        try (Connection connection = connect("guest")) {
            Channel channel = connection.createChannel();
            String queue = channel.queueDeclare().getQueue();
            channel.basicQos(10);
            AMQP.BasicProperties properties =
                new AMQP.BasicProperties.Builder().contentType("text/plain").headers(Map.of("n", 1)).build();
            for (int number = 0; number < 100; number++) {
                channel.basicPublish("", queue, properties, ("message " + number).getBytes());
            }
            List<String> received = new ArrayList<>();
            CountDownLatch all = new CountDownLatch(100);
            channel.basicConsume(queue, false, (tag, delivery) -> {
                received.add(new String(delivery.getBody()));
                channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
                all.countDown();
            }, tag -> { });
            must(all.await(10, TimeUnit.SECONDS), "only " + received.size() + " messages came");
            for (int number = 0; number < 100; number++) {
                must(received.get(number).equals("message " + number), received);
            }
        }
    }

    static void confirm() throws Exception {
        try (Connection connection = connect("guest")) {
            Channel channel = connection.createChannel();
            String queue = "java-" + UUID.randomUUID();
            channel.queueDeclare(queue, true, false, false, null);
            channel.confirmSelect();
            AtomicInteger returned = new AtomicInteger();
            channel.addReturnListener(message -> returned.set(message.getReplyCode()));
            for (int number = 0; number < 20; number++) {
                channel.basicPublish("", queue, true, MessageProperties.PERSISTENT_BASIC, new byte[] {1});
            }
            channel.basicPublish("", "nowhere-at-all", true, MessageProperties.BASIC, new byte[] {1});
            channel.waitForConfirmsOrDie(10_000);
            must(returned.get() == 312, "returned with " + returned);
            must(channel.queueDelete(queue).getMessageCount() == 20, "20 messages");
        }
    }

    static void transaction() throws Exception {
        try (Connection connection = connect("guest")) {
            Channel channel = connection.createChannel();
            String queue = channel.queueDeclare().getQueue();
            channel.txSelect();
            channel.basicPublish("", queue, null, "rolled back".getBytes());
            channel.txRollback();
            for (int number = 0; number < 10; number++) {
                channel.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, new byte[] {1});
            }
            must(channel.messageCount(queue) == 0, "messages before the commit");
            channel.txCommit();
            must(channel.messageCount(queue) == 10, "10 messages");
            long tag = channel.basicGet(queue, false).getEnvelope().getDeliveryTag();
            channel.basicAck(tag, false);
            channel.txRollback();
            channel.basicAck(tag, false);
            channel.txCommit();
            channel.close();
            must(connection.createChannel().queueDelete(queue).getMessageCount() == 9, "9 messages");
        }
    }

    static void refusedLogin() throws Exception {
        try (Connection connection = connect("wrong")) {
            throw new AssertionError("a wrong password was accepted");
        } catch (AuthenticationFailureException refused) {
            must(refused.getMessage().contains("ACCESS_REFUSED"), refused);
        }
    }

    static void refusedQueue() throws Exception {
        try (Connection connection = connect("guest")) {
            Channel channel = connection.createChannel();
            String queue = "java-" + UUID.randomUUID();
            channel.queueDeclare(queue, true, false, false, null);
            try {
                channel.queueDeclare(queue, true, false, true, null);
                throw new AssertionError("an inequivalent queue was accepted");
            } catch (IOException refused) {
                ShutdownSignalException reason = (ShutdownSignalException) refused.getCause();
                AMQP.Channel.Close close = (AMQP.Channel.Close) reason.getReason();
                must(close.getReplyCode() == 406 && close.getReplyText().contains("inequivalent arg 'auto_delete'"), close);
            }
            connection.createChannel().queueDelete(queue);
        }
    }
}
