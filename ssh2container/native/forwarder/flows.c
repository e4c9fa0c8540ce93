/* Datagram flows that have been allowed: a table of a fixed size, in which the oldest of a row makes room. */
#include "flows.h"

#include <string.h>

enum { ROWS = 1024, ROW = 4 };

static struct flow {
    struct address target;
    uint16_t target_port, source_port;
    int64_t last_ms; /* 0: free */
} flows[ROWS][ROW];

static struct flow *row_of(const struct address *target, unsigned target_port, unsigned source_port)
{
    uint32_t hash = 2166136261U ^ target_port << 16 ^ source_port;
    for (size_t i = 0; i < address_size(target); i++)
        hash = (hash ^ target->bytes[i]) * 16777619U;
    hash = (hash ^ source_port) * 16777619U;
    return flows[(hash ^ hash >> 16) % ROWS];
}

static bool is(const struct flow *flow, const struct address *target, unsigned target_port, unsigned source_port,
               int64_t now_ms)
{
    return flow->last_ms && now_ms - flow->last_ms < FLOW_LIFE_MS && flow->target_port == target_port &&
           flow->source_port == source_port && address_equal(&flow->target, target);
}

bool flows_know(const struct address *target, unsigned target_port, unsigned source_port, int64_t now_ms)
{
    struct flow *row = row_of(target, target_port, source_port);
    for (size_t i = 0; i < ROW; i++) {
        if (is(&row[i], target, target_port, source_port, now_ms)) {
            row[i].last_ms = now_ms;
            return true;
        }
    }
    return false;
}

void flows_add(const struct address *target, unsigned target_port, unsigned source_port, int64_t now_ms)
{
    struct flow *row = row_of(target, target_port, source_port), *place = row;
    for (size_t i = 0; i < ROW; i++) {
        if (is(&row[i], target, target_port, source_port, now_ms)) {
            row[i].last_ms = now_ms;
            return;
        }
        if (row[i].last_ms < place->last_ms)
            place = &row[i];
    }
    *place = (struct flow){*target, (uint16_t)target_port, (uint16_t)source_port, now_ms};
}
