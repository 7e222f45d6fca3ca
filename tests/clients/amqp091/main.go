// amqp091 STEP   what every client is tried for: deliver, confirm, refused-login, refused-queue. Prints ok at the end.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	steps := map[string]func() error{
		"deliver": deliver, "confirm": confirm, "refused-login": refusedLogin, "refused-queue": refusedQueue,
	}
	if err := steps[os.Args[1]](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func dial(password string) (*amqp.Connection, error) {
	return amqp.Dial(fmt.Sprintf("amqp://guest:%s@%s:%s/", password, env("AMQP_HOST", "localhost"), env("AMQP_PORT", "5672")))
}

func open() (*amqp.Connection, *amqp.Channel, error) {
	connection, err := dial("guest")
	if err != nil {
		return nil, nil, err
	}
	channel, err := connection.Channel()
	return connection, channel, err
}

func deliver() error {
	connection, channel, err := open()
	if err != nil {
		return err
	}
	queue, err := channel.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		return err
	}
	if err := channel.Qos(10, 0, false); err != nil {
		return err
	}
	headers := amqp.Table{"n": int32(1), "list": []interface{}{"a", true, nil}}
	for number := 0; number < 100; number++ {
		message := amqp.Publishing{ContentType: "text/plain", Headers: headers, Body: []byte(fmt.Sprint("message ", number))}
		if err := channel.PublishWithContext(context.Background(), "", queue.Name, false, false, message); err != nil {
			return err
		}
	}
	deliveries, err := channel.Consume(queue.Name, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for number := 0; number < 100; number++ {
		select {
		case delivery := <-deliveries:
			if string(delivery.Body) != fmt.Sprint("message ", number) {
				return fmt.Errorf("message %d is %q", number, delivery.Body)
			}
			if !reflect.DeepEqual(delivery.Headers, headers) {
				return fmt.Errorf("headers %v", delivery.Headers)
			}
			if err := delivery.Ack(false); err != nil {
				return err
			}
		case <-time.After(10 * time.Second):
			return fmt.Errorf("only %d messages came", number)
		}
	}
	return connection.Close()
}

func confirm() error {
	connection, channel, err := open()
	if err != nil {
		return err
	}
	name := fmt.Sprint("amqp091-", time.Now().UnixNano())
	if _, err := channel.QueueDeclare(name, true, false, false, false, nil); err != nil {
		return err
	}
	if err := channel.Confirm(false); err != nil {
		return err
	}
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	publish := func(key string) (bool, error) {
		message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")}
		pending, err := channel.PublishWithDeferredConfirmWithContext(context.Background(), "", key, true, false, message)
		if err != nil {
			return false, err
		}
		limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return pending.WaitContext(limit)
	}
	for number := 0; number < 20; number++ {
		if confirmed, err := publish(name); err != nil || !confirmed {
			return fmt.Errorf("message %d: confirmed %v, %v", number, confirmed, err)
		}
	}
	if confirmed, err := publish("nowhere-at-all"); err != nil || !confirmed {
		return fmt.Errorf("unroutable: confirmed %v, %v", confirmed, err)
	}
	if returned := <-returns; returned.ReplyCode != 312 {
		return fmt.Errorf("returned with %d", returned.ReplyCode)
	}
	if count, err := channel.QueueDelete(name, false, false, false); err != nil || count != 20 {
		return fmt.Errorf("%d messages, %v", count, err)
	}
	return connection.Close()
}

func refusedLogin() error {
	_, err := dial("wrong")
	var refused *amqp.Error
	if !errors.As(err, &refused) || refused.Code != amqp.AccessRefused {
		return fmt.Errorf("a wrong password was answered with %v", err)
	}
	return nil
}

func refusedQueue() error {
	connection, channel, err := open()
	if err != nil {
		return err
	}
	name := fmt.Sprint("amqp091-", time.Now().UnixNano())
	if _, err := channel.QueueDeclare(name, true, false, false, false, nil); err != nil {
		return err
	}
	_, err = channel.QueueDeclare(name, true, true, false, false, nil)
	var refused *amqp.Error
	if !errors.As(err, &refused) || refused.Code != amqp.PreconditionFailed || !strings.Contains(refused.Reason, "inequivalent arg 'auto_delete'") {
		return fmt.Errorf("an inequivalent queue was answered with %v", err)
	}
	again, err := connection.Channel()
	if err != nil {
		return err
	}
	if _, err := again.QueueDelete(name, false, false, false); err != nil {
		return err
	}
	return connection.Close()
}
