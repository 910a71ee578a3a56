/* Background workers as others see them. */

#ifndef DAMSON_WAKE_H
#define DAMSON_WAKE_H

#include "pgstat.h"
#if PG_VERSION_NUM >= 140000
#include "utils/backend_status.h"
#endif

extern PgBackendStatus *damson_next_worker(const char *type, int *at);

#endif
