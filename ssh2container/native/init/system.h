/* A whole system in the container, as pid 1 looks after it. */
#ifndef SYSTEM_H
#define SYSTEM_H

#include "script.h"

void clear_away(struct system *system);
void end_system(struct system *system);
void drain_console(struct system *system);

#endif
