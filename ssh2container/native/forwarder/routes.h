/* What the kernel of the host would do with a packet, asked anew for each flow: nothing to keep, nothing to miss. */
#ifndef FORWARDER_ROUTES_H
#define FORWARDER_ROUTES_H
#include "rules.h"

bool routes_open(void); /* before confinement; sets errno */
/* Of an address, or of the IPv4 address in it. What cannot be found out is PLACE_OWN, so that it is refused. */
enum place routes_place(const struct address *address);
#endif
