/* The least a server on this machine can do: one process, epoll, and the same response to every request.
   Usage: serve_floor PORT FILE, where FILE holds the body of the response. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 4096, MAX_BYTES = 1 << 20, MAX_EVENTS = 256 };

typedef struct {
    char *bytes;
    size_t length;
} Buffer;

static Buffer received[MAX_CONNECTIONS];
static Buffer response;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void read_response(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail(path);
    char *body = malloc(MAX_BYTES);
    size_t length = fread(body, 1, MAX_BYTES, file);
    fclose(file);
    response.bytes = malloc(length + 256);
    response.length = (size_t)sprintf(
        response.bytes, "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\ncontent-type: application/json\r\n\r\n", length);
    memcpy(response.bytes + response.length, body, length);
    response.length += length;
    free(body);
}

static int open_listener(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
    if (listen(listener, 1024) != 0) fail("listen");
    return listener;
}

/* The length of the first whole request in the buffer, 0 when it has not come in full. */
static size_t whole_request(const Buffer *buffer) {
    const char *end = memmem(buffer->bytes, buffer->length, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    size_t head = (size_t)(end - buffer->bytes) + 4, body = 0;
    for (const char *line = buffer->bytes; line < end; line++) {
        line = memchr(line, '\n', (size_t)(end + 4 - line));
        if (strncasecmp(line + 1, "content-length:", 15) == 0) body = strtoul(line + 16, NULL, 10);
    }
    return buffer->length >= head + body ? head + body : 0;
}

static void hang_up(int connection) {
    close(connection);
    received[connection].length = 0;
}

static void send_whole(int connection) {
    for (size_t sent = 0; sent < response.length;) {
        ssize_t part = send(connection, response.bytes + sent, response.length - sent, MSG_NOSIGNAL);
        if (part < 0) return;
        sent += (size_t)part;
    }
}

static void serve(int connection) {
    Buffer *buffer = &received[connection];
    if (buffer->bytes == NULL) buffer->bytes = malloc(MAX_BYTES);
    ssize_t part = recv(connection, buffer->bytes + buffer->length, MAX_BYTES - buffer->length, 0);
    if (part <= 0) {
        hang_up(connection);
        return;
    }
    buffer->length += (size_t)part;
    for (size_t length; (length = whole_request(buffer)) > 0;) {
        send_whole(connection);
        buffer->length -= length;
        memmove(buffer->bytes, buffer->bytes + length, buffer->length);
    }
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    read_response(arguments[2]);
    int listener = open_listener(atoi(arguments[1])), poll = epoll_create1(0), on = 1;
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = listener}, events[MAX_EVENTS];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &wanted);
    for (;;) {
        int ready = epoll_wait(poll, events, MAX_EVENTS, -1);
        for (int index = 0; index < ready; index++) {
            if (events[index].data.fd != listener) {
                serve(events[index].data.fd);
                continue;
            }
            int connection = accept(listener, NULL, NULL);
            if (connection < 0 || connection >= MAX_CONNECTIONS) fail("accept");
            setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            wanted.data.fd = connection;
            epoll_ctl(poll, EPOLL_CTL_ADD, connection, &wanted);
        }
    }
}
