/* SPDX-License-Identifier: MIT */
/*
 * A proxy between two Unix sockets that delays and counts.
 *
 *     proxy LISTEN_PATH SERVER_PATH DELAY_US
 *
 * What arrives in either direction is passed on DELAY_US microseconds later,
 * in order; bandwidth is not limited. On SIGTERM it waits until nobody is
 * connected and prints the number of round trips.
 *
 * A round trip is counted when the client sends something after the answers
 * to all that it had sent before have been passed on to it: it has waited.
 * Answers that arrive while requests are under way are no round trips. That
 * is exact where the delay is long enough for a client that does not wait to
 * have something under way always.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LINKS = 16, CHUNK_BYTES = 1 << 16, MAX_QUEUED = 8 << 20 };

struct chunk {
    struct chunk *next;
    int64_t due_ns;
    size_t sent;
    size_t size;
    char bytes[CHUNK_BYTES];
};

/* Reads messages off a stream: a type, a length that counts itself, and so
 * many bytes. The first message of a client has no type. */
struct reader {
    unsigned char head[5];
    size_t have;
    size_t skip;
    bool untyped;
};

struct direction {
    int from;
    int to;
    bool ended; /* "from" has nothing more to say */
    struct chunk *first;
    struct chunk *last;
    size_t queued;
    struct reader reader;
};

struct link {
    bool used;
    struct direction up;   /* from the client to the server */
    struct direction down; /* from the server to the client */
    long syncs;            /* queries and syncs without their answer */
    long executes;         /* statements without theirs */
    bool told;             /* everything has its answer */
};

static struct link links[MAX_LINKS];
static int64_t delay_ns;
static long round_trips;
static volatile sig_atomic_t ending;

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

static void
end(int number)
{
    (void)number;
    ending = 1;
}

static int64_t
now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* -- counting --------------------------------------------------------- */

static void
client_says(struct link *link, char type)
{
    if (link->told) {
        round_trips++;
        link->told = false;
    }
    if (type == 'Q' || type == 'S')
        link->syncs++;
    else if (type == 'E')
        link->executes++;
}

static void
server_says(struct link *link, char type)
{
    /* CommandComplete, EmptyQueryResponse, PortalSuspended, ReadyForQuery */
    if ((type == 'C' || type == 'I' || type == 's') && link->executes > 0)
        link->executes--;
    else if (type == 'Z' && link->syncs > 0)
        link->syncs--;
    if (strchr("CIsZ", type) != NULL && link->executes == 0 && link->syncs == 0)
        link->told = true;
}

static void
read_messages(struct link *link, struct direction *way, const char *bytes,
              size_t size)
{
    struct reader *r = &way->reader;

    for (size_t i = 0; i < size;) {
        if (r->skip > 0) {
            size_t step = size - i < r->skip ? size - i : r->skip;

            r->skip -= step;
            i += step;
            continue;
        }
        if (r->have == 0 && r->untyped)
            r->head[r->have++] = 0;
        r->head[r->have++] = (unsigned char)bytes[i++];
        if (r->have < sizeof r->head)
            continue;
        r->skip = ((size_t)r->head[1] << 24 | (size_t)r->head[2] << 16 |
                   (size_t)r->head[3] << 8 | (size_t)r->head[4]) -
                  4;
        r->have = 0;
        r->untyped = false;
        if (way == &link->up)
            client_says(link, (char)r->head[0]);
        else
            server_says(link, (char)r->head[0]);
    }
}

/* -- passing on ------------------------------------------------------- */

static void
take(struct link *link, struct direction *way)
{
    struct chunk *chunk = malloc(sizeof *chunk);
    ssize_t size;

    if (chunk == NULL)
        die("malloc");
    size = read(way->from, chunk->bytes, sizeof chunk->bytes);
    if (size <= 0) {
        free(chunk);
        way->ended =
            size == 0 || (errno != EAGAIN && errno != EINTR) || way->ended;
        return;
    }
    if (way == &link->up)
        read_messages(link, way, chunk->bytes, (size_t)size);
    chunk->next = NULL;
    chunk->due_ns = now_ns() + delay_ns;
    chunk->sent = 0;
    chunk->size = (size_t)size;
    if (way->last != NULL)
        way->last->next = chunk;
    else
        way->first = chunk;
    way->last = chunk;
    way->queued += chunk->size;
}

static void
drop_first(struct direction *way)
{
    struct chunk *chunk = way->first;

    way->queued -= chunk->size;
    way->first = chunk->next;
    if (way->first == NULL)
        way->last = NULL;
    free(chunk);
}

/* Sends what is due; false when the other end has gone. */
static bool
give(struct link *link, struct direction *way, int64_t now)
{
    while (way->first != NULL && way->first->due_ns <= now) {
        struct chunk *chunk = way->first;
        ssize_t sent =
            send(way->to, chunk->bytes + chunk->sent, chunk->size - chunk->sent,
                 MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        if (way == &link->down)
            read_messages(link, way, chunk->bytes + chunk->sent, (size_t)sent);
        chunk->sent += (size_t)sent;
        if (chunk->sent == chunk->size)
            drop_first(way);
    }
    return true;
}

static void
open_link(int listener, const struct sockaddr_un *server)
{
    int client = accept(listener, NULL, NULL);
    int upstream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct link *link = links;

    if (client < 0 || upstream < 0)
        die("proxy");
    while (link < links + MAX_LINKS && link->used)
        link++;
    if (link == links + MAX_LINKS ||
        connect(upstream, (const struct sockaddr *)server, sizeof *server) !=
            0) {
        close(client);
        close(upstream);
        return;
    }
    memset(link, 0, sizeof *link);
    link->used = true;
    link->up.from = link->down.to = client;
    link->up.to = link->down.from = upstream;
    link->up.reader.untyped = true;
}

static void
close_link(struct link *link)
{
    while (link->up.first != NULL)
        drop_first(&link->up);
    while (link->down.first != NULL)
        drop_first(&link->down);
    close(link->up.from);
    close(link->up.to);
    link->used = false;
}

/* -- the loop --------------------------------------------------------- */

/* What to wait for on behalf of one direction. */
static void
arrange(const struct direction *way, int64_t now, struct pollfd *from,
        struct pollfd *to, int64_t *wake_ns)
{
    from->fd = way->from;
    to->fd = way->to;
    if (!way->ended && way->queued < MAX_QUEUED)
        from->events |= POLLIN;
    if (way->first == NULL)
        return;
    if (way->first->due_ns <= now)
        to->events |= POLLOUT;
    else if (way->first->due_ns < *wake_ns)
        *wake_ns = way->first->due_ns;
}

static bool
serve_direction(struct link *link, struct direction *way,
                const struct pollfd *from)
{
    if (!way->ended && (from->revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        take(link, way);
    return give(link, way, now_ns()) && !(way->ended && way->first == NULL);
}

static void
turn(int listener, const struct sockaddr_un *server, const sigset_t *mask)
{
    struct pollfd fds[2 * MAX_LINKS + 1];
    struct link *served[MAX_LINKS];
    int64_t now = now_ns();
    int64_t wake_ns = now + 1000000000;
    struct timespec wait;
    nfds_t count = 0;
    nfds_t pairs = 0;
    int64_t rest;

    memset(fds, 0, sizeof fds);
    for (struct link *link = links; link < links + MAX_LINKS; link++) {
        if (!link->used)
            continue;
        arrange(&link->up, now, &fds[count], &fds[count + 1], &wake_ns);
        arrange(&link->down, now, &fds[count + 1], &fds[count], &wake_ns);
        for (nfds_t i = count; i < count + 2; i++) {
            /* A closed socket is always ready: look away when it is known. */
            if (fds[i].events == 0)
                fds[i].fd = -1;
        }
        served[pairs++] = link;
        count += 2;
    }
    fds[count].fd = listener;
    fds[count].events = POLLIN;
    rest = wake_ns - now;
    wait.tv_sec = rest / 1000000000;
    wait.tv_nsec = rest % 1000000000;
    if (ppoll(fds, count + 1, &wait, mask) < 0) {
        if (errno != EINTR)
            die("ppoll");
        return;
    }
    for (nfds_t i = 0; i < pairs; i++) {
        bool up = serve_direction(served[i], &served[i]->up, &fds[2 * i]);
        bool down =
            serve_direction(served[i], &served[i]->down, &fds[2 * i + 1]);

        if (!up || !down)
            close_link(served[i]);
    }
    if ((fds[count].revents & POLLIN) != 0)
        open_link(listener, server);
}

static bool
busy(void)
{
    for (const struct link *link = links; link < links + MAX_LINKS; link++) {
        if (link->used)
            return true;
    }
    return false;
}

static void
set_path(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) {
        fprintf(stderr, "proxy: the path is too long: %s\n", path);
        exit(2);
    }
    memcpy(address->sun_path, path, strlen(path) + 1);
}

int
main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = end};
    struct sockaddr_un here;
    struct sockaddr_un server;
    sigset_t blocked;
    sigset_t open_mask;
    int listener;

    if (argc != 4) {
        fputs("usage: proxy LISTEN_PATH SERVER_PATH DELAY_US\n", stderr);
        return 2;
    }
    set_path(&here, argv[1]);
    set_path(&server, argv[2]);
    delay_ns = strtoll(argv[3], NULL, 10) * 1000;
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &open_mask);
    sigaction(SIGTERM, &action, NULL);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 ||
        bind(listener, (const struct sockaddr *)&here, sizeof here) != 0 ||
        listen(listener, 8) != 0)
        die(argv[1]);
    while (!ending || busy())
        turn(listener, &server, &open_mask);
    unlink(argv[1]);
    printf("%ld\n", round_trips);
    return 0;
}
