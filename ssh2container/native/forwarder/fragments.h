/* Fragments made whole again, before anything is decided about them. Nothing here touches the machine. */
#ifndef FORWARDER_FRAGMENTS_H
#define FORWARDER_FRAGMENTS_H
#include "packet.h"

/* Take a fragment; return the frame that it completes and set its size, or NULL. The frame is the caller's until the
 * next call. */
uint8_t *fragments_take(const struct packet *packet, int64_t now_ms, size_t *size);
#endif
