/* What startup.c offers to a program. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

enum { INSTRUCTIONS_PER_TICK = 40 };

void put_text(const char *text);
void put_hex(uint32_t number); /* and a new line */
void start_ticks(void);
uint32_t ticks(void);

#endif
