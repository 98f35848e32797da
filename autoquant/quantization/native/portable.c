/* Any processor that the compiler knows. */
#define AQ_SET portable
#include "core.h"
