import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.MessageProperties;
import java.util.concurrent.CountDownLatch;

/**
 * Publish a message and wait for its confirm; consume and acknowledge it.
 *
 * mvn dependency:copy-dependencies -DoutputDirectory=lib && java -cp 'lib/*' Hello.java
 */
public class Hello {
    public static void main(String[] arguments) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(System.getenv().getOrDefault("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f"));
        try (Connection connection = factory.newConnection(); Channel channel = connection.createChannel()) {
            channel.queueDeclare("hello-java", true, false, false, null); // durable

            channel.confirmSelect();
            channel.basicPublish("", "hello-java", MessageProperties.PERSISTENT_BASIC, "hello".getBytes());
            channel.waitForConfirmsOrDie(10_000); // the message is on disk
            System.out.println("confirmed");

            CountDownLatch received = new CountDownLatch(1);
            channel.basicConsume("hello-java", false, (tag, delivery) -> {
                System.out.println("received " + new String(delivery.getBody()));
                channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
                received.countDown();
            }, tag -> { });
            received.await();
        }
    }
}
