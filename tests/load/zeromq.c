/* zeromq TYPE bind|connect ENDPOINT SIZE SECONDS   one socket of libzmq under load, for zeromq.py.
 *
 * In: a type (push, pull, pub, sub, req, rep) and an endpoint. Out: of pull and sub the messages received per second, of req
 * percentiles of round trips in microseconds; the others go on until they are ended. "zeromq keys" prints a key pair of CURVE.
 * CURVE by the environment: SERVER_SECRET for the side that binds; SERVER_PUBLIC, CLIENT_PUBLIC, CLIENT_SECRET for the other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void check(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "zeromq: %s: %s\n", what, zmq_strerror(zmq_errno()));
        exit(1);
    }
}

static void secure(void *socket)
{
    const char *secret = getenv("SERVER_SECRET"), *public = getenv("SERVER_PUBLIC");
    int yes = 1;
    if (secret) {
        check(!zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes), "CURVE_SERVER");
        check(!zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 41), "CURVE_SECRETKEY");
    } else if (public) {
        check(!zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, public, 41), "CURVE_SERVERKEY");
        check(!zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, getenv("CLIENT_PUBLIC"), 41), "CURVE_PUBLICKEY");
        check(!zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, getenv("CLIENT_SECRET"), 41), "CURVE_SECRETKEY");
    }
}

/* The zmq_msg_t functions: no copy beside those that the library makes. */
static void receive(void *socket, double seconds)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    check(zmq_msg_recv(&message, socket, 0) >= 0, "receive");
    double begin = now();
    while (now() - begin < 0.5)
        for (int i = 0; i < 100; i++)
            check(zmq_msg_recv(&message, socket, 0) >= 0, "receive");
    unsigned long count = 0;
    for (begin = now(); now() - begin < seconds; count += 100)
        for (int i = 0; i < 100; i++)
            check(zmq_msg_recv(&message, socket, 0) >= 0, "receive");
    printf("%.0f\n", count / (now() - begin));
}

static void send_all(void *socket, size_t size)
{
    for (;;) {
        zmq_msg_t message;
        check(!zmq_msg_init_size(&message, size), "memory");
        memset(zmq_msg_data(&message), 't', size);
        check(zmq_msg_send(&message, socket, 0) >= 0, "send");
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void ask(void *socket, size_t size, double seconds)
{
    enum { MOST = 4000000 };
    double *times = malloc(MOST * sizeof *times), begin = now();
    char *body = calloc(1, size);
    size_t count = 0;
    while (now() - begin < seconds + 0.5 && count < MOST) {
        double at = now();
        check(zmq_send(socket, body, size, 0) >= 0, "send");
        check(zmq_recv(socket, body, size, 0) >= 0, "receive");
        if (at - begin > 0.5)
            times[count++] = (now() - at) * 1e6;
    }
    qsort(times, count, sizeof *times, ascending);
    printf("%.0f %.0f\n", times[count / 2], times[count * 99 / 100]);
}

static void answer(void *socket)
{
    static char body[1 << 20];
    for (;;) {
        int size = zmq_recv(socket, body, sizeof body, 0);
        check(size >= 0, "receive");
        check(zmq_send(socket, body, size, 0) >= 0, "send");
    }
}

int main(int count, char **given)
{
    static const struct { const char *name; int type; } types[] = {
        {"push", ZMQ_PUSH}, {"pull", ZMQ_PULL}, {"pub", ZMQ_PUB}, {"sub", ZMQ_SUB}, {"req", ZMQ_REQ}, {"rep", ZMQ_REP}};
    if (count == 2 && !strcmp(given[1], "keys")) {
        char public[41], secret[41];
        check(!zmq_curve_keypair(public, secret), "keys");
        printf("%s %s\n", public, secret);
        return 0;
    }
    int type = -1;
    for (size_t i = 0; count == 6 && i < sizeof types / sizeof *types; i++)
        if (!strcmp(given[1], types[i].name))
            type = types[i].type;
    if (type < 0) {
        fprintf(stderr, "zeromq TYPE bind|connect ENDPOINT SIZE SECONDS\n");
        return 2;
    }
    void *socket = zmq_socket(zmq_ctx_new(), type);
    check(socket != NULL, "socket");
    secure(socket);
    if (type == ZMQ_SUB)
        check(!zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0), "subscribe");
    int bound = !strcmp(given[2], "bind") ? zmq_bind(socket, given[3]) : zmq_connect(socket, given[3]);
    check(!bound, given[3]);
    size_t size = strtoul(given[4], NULL, 10);
    double seconds = strtod(given[5], NULL);
    switch (type) {
    case ZMQ_PULL:
    case ZMQ_SUB:
        receive(socket, seconds);
        break;
    case ZMQ_REQ:
        ask(socket, size, seconds);
        break;
    case ZMQ_REP:
        answer(socket);
        break;
    default:
        send_all(socket, size);
    }
    fflush(stdout);
    _Exit(0);
}
