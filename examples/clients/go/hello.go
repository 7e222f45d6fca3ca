// Publish a message and wait for its confirm; consume and acknowledge it.
//
//	go run .
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func hello(ctx context.Context, url string) error {
	connection, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if _, err := channel.QueueDeclare("hello-go", true, false, false, false, nil); err != nil { // durable
		return err
	}

	if err := channel.Confirm(false); err != nil {
		return err
	}
	message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("hello")}
	confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", "hello-go", false, false, message)
	if err != nil {
		return err
	}
	if confirmed, err := confirm.WaitContext(ctx); err != nil || !confirmed {
		return fmt.Errorf("not confirmed: %w", err)
	}
	fmt.Println("confirmed") // the message is on disk

	deliveries, err := channel.ConsumeWithContext(ctx, "hello-go", "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	delivery := <-deliveries
	fmt.Println("received", string(delivery.Body))
	return delivery.Ack(false)
}

func main() {
	url := cmp.Or(os.Getenv("AMQP_URL"), "amqp://guest:guest@localhost:5672/%2f")
	if err := hello(context.Background(), url); err != nil {
		log.Fatal(err)
	}
}
