// zmq4-check STEP: what every ZeroMQ client is tried for: pipeline, publish-subscribe, request, dealer, router, restart, refused. Prints ok at
// the end. ZMQ_PUSH, ZMQ_PULL, ZMQ_PUB, ZMQ_SUB, ZMQ_REQ and ZMQ_REP are where a socket of that type connects to. zmq4 has neither CURVE nor
// heartbeats.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/plain"
)

var deadline, _ = context.WithTimeout(context.Background(), 20*time.Second)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func same(got, wanted any) {
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", wanted) {
		must(fmt.Errorf("%.200q instead of %.200q", got, wanted))
	}
}

type maker func(context.Context, ...zmq4.Option) zmq4.Socket

func made(make maker, options ...zmq4.Option) zmq4.Socket {
	options = append(options, zmq4.WithDialerRetry(50*time.Millisecond), zmq4.WithDialerMaxRetries(-1))
	if user := os.Getenv("ZMQ_USER"); user != "" {
		options = append(options, zmq4.WithSecurity(plain.Security(user, os.Getenv("ZMQ_PASSWORD"))))
	}
	return make(deadline, options...)
}

func connected(make maker, name string, options ...zmq4.Option) zmq4.Socket {
	socket := made(make, options...)
	must(socket.Dial(os.Getenv("ZMQ_" + name)))
	return socket
}

func send(socket zmq4.Socket, parts ...string) {
	must(socket.SendMulti(zmq4.NewMsgFromString(parts)))
}

func receive(socket zmq4.Socket) []string {
	message, err := socket.Recv()
	must(err)
	var parts []string
	for _, part := range message.Frames {
		parts = append(parts, string(part))
	}
	return parts
}

func pipeline() {
	push, pull := connected(zmq4.NewPush, "PUSH"), connected(zmq4.NewPull, "PULL")
	messages := [][]string{
		{"one"}, {""}, {"a", "", "ccc", ""}, {strings.Repeat("x", 255)}, {strings.Repeat("x", 256), strings.Repeat("y", 100_000)},
	}
	for number := 0; number < 100; number++ {
		messages = append(messages, []string{fmt.Sprint(number)})
	}
	for _, message := range messages {
		send(push, message...)
	}
	for _, message := range messages {
		same(receive(pull), message)
	}
}

func publishSubscribe() {
	pub, sub := connected(zmq4.NewPub, "PUB"), connected(zmq4.NewSub, "SUB")
	came := make(chan []string, 1000)
	go func() {
		for {
			came <- receive(sub)
		}
	}()
	// Until the subscription is known, publishes what it is for; then passes over what came of that.
	subscribed := func(topic string) {
		must(sub.SetOption(zmq4.OptionSubscribe, topic))
		for number := 0; number < 200 && len(came) == 0; number++ {
			send(pub, topic, "are you there")
			time.Sleep(50 * time.Millisecond)
		}
		send(pub, topic, "now")
		for (<-came)[1] != "now" {
		}
	}
	subscribed("price.")
	send(pub, "price.eur", "1")
	send(pub, "news", "none")
	send(pub, "price.usd", "", "2")
	send(pub, "price")
	must(sub.SetOption(zmq4.OptionSubscribe, "weather"))
	same(<-came, []string{"price.eur", "1"})
	same(<-came, []string{"price.usd", "", "2"})
	must(sub.SetOption(zmq4.OptionUnsubscribe, "price."))
	subscribed("end")
	send(pub, "price.gbp", "3")
	send(pub, "end", "last")
	same(<-came, []string{"end", "last"})
}

func request() {
	client, worker := connected(zmq4.NewReq, "REQ"), connected(zmq4.NewRep, "REP")
	for number := 0; number < 20; number++ {
		// No empty part: zmq4's REP takes everything up to the last one for the envelope.
		send(client, "what is", fmt.Sprint(number))
		same(receive(worker), []string{"what is", fmt.Sprint(number)})
		send(worker, "it is", fmt.Sprint(number))
		same(receive(client), []string{"it is", fmt.Sprint(number)})
	}
}

// envelope gives the parts up to and with the first empty one, and the others.
func envelope(parts []string) ([]string, []string) {
	for at, part := range parts {
		if part == "" {
			return parts[:at+1], parts[at+1:]
		}
	}
	must(fmt.Errorf("no envelope: %q", parts))
	return nil, nil
}

func dealer() {
	client, worker := connected(zmq4.NewDealer, "REQ"), connected(zmq4.NewDealer, "REP")
	send(client, "", "one")
	send(client, "", "two", "parts")
	for _, body := range [][]string{{"one"}, {"two", "parts"}} {
		path, got := envelope(receive(worker))
		same(got, body)
		send(worker, append(append(path, "re"), body...)...)
	}
	replies := []string{strings.Join(receive(client), "|"), strings.Join(receive(client), "|")}
	sort.Strings(replies)
	same(replies, []string{"|re|one", "|re|two|parts"})
}

func router() {
	client := connected(zmq4.NewReq, "REQ", zmq4.WithID(zmq4.SocketIdentity("client")))
	worker := connected(zmq4.NewRouter, "REP")
	for number := 0; number < 5; number++ {
		send(client, fmt.Sprint(number))
		path, body := envelope(receive(worker))
		same(body, []string{fmt.Sprint(number)})
		send(worker, append(path, "re", body[0])...)
		same(receive(client), []string{"re", fmt.Sprint(number)})
	}
}

// restart makes the PUSH anew: where a write finds the connection gone, zmq4's automatic reconnect waits for a lock that the write holds.
func restart() {
	push, pull := connected(zmq4.NewPush, "PUSH"), connected(zmq4.NewPull, "PULL", zmq4.WithAutomaticReconnect(true))
	send(push, "before")
	same(receive(pull), []string{"before"})
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	came := make(chan string, 100)
	go func() {
		for deadline.Err() == nil {
			// The first read may tell that the connection has gone.
			if message, err := pull.Recv(); err == nil {
				came <- string(message.Frames[0])
			}
		}
	}()
	for number := 0; number < 100; number++ {
		if push.Send(zmq4.NewMsgString("after")) != nil {
			push = connected(zmq4.NewPush, "PUSH")
		}
		select {
		case message := <-came:
			same(message, "after")
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	must(fmt.Errorf("nothing came after the restart"))
}

func refused() {
	if err := made(zmq4.NewPush).Dial(os.Getenv("ZMQ_PUSH")); err == nil {
		must(fmt.Errorf("it was let in"))
	}
}

func main() {
	steps := map[string]func(){
		"pipeline": pipeline, "publish-subscribe": publishSubscribe, "request": request, "dealer": dealer, "router": router,
		"restart": restart, "refused": refused,
	}
	steps[os.Args[1]]()
	fmt.Println("ok")
}
