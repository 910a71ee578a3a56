/* Shared memory of devices: finding the segment of a worker, and making and mapping segments without losing the
 * statement where there is no room. Without shared_preload_libraries there is no place in the server's own shared memory,
 * so a worker says in its application name where its segment is; only workers can have its type. */

#include "postgres.h"

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "wake.h"

/* The segment of the worker of that type; 0 where there is none. */
uint32
damson_device_find(const char *type)
{
	PgBackendStatus *worker;
	int			at = 0;

	while ((worker = damson_next_worker(type, &at)) != NULL)
	{
		unsigned int handle;

		if (worker->st_appname && sscanf(worker->st_appname, "damson device, segment %u", &handle) == 1)
			return handle;
	}
	return 0;
}

/* Whether the process is there still. */
bool
damson_device_lives(int pid)
{
	return BackendPidGetProc(pid) != NULL;
}

/*
 * A segment of that size, or the one of that number where the size is 0; NULL where it cannot be had. It stays mapped
 * until it is detached. An error of the server is caught, with an owner of its own for what it may have left: there may
 * be no subtransactions where this is called.
 */
dsm_segment *
damson_device_segment(size_t size, uint32 handle)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner outer = CurrentResourceOwner;
	ResourceOwner owner = ResourceOwnerCreate(outer, "damson device");
	dsm_segment *volatile segment = NULL;

	CurrentResourceOwner = owner;
	PG_TRY();
	{
		segment = size ? dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS) : dsm_attach(handle);
		if (segment)
			dsm_pin_mapping(segment);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		segment = NULL;
	}
	PG_END_TRY();
	CurrentResourceOwner = outer;
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_BEFORE_LOCKS, false, false);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_LOCKS, false, false);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_AFTER_LOCKS, false, false);
	ResourceOwnerDelete(owner);
	return segment;
}

/* Before signals are let in: SIGTERM is noted, as in a session, and SIGHUP. */
void
damson_device_signals(void)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
}

/* Whether the settings' files were to be read anew since it was last asked. */
bool
damson_device_reload(void)
{
	bool		pending = ConfigReloadPending;

	ConfigReloadPending = false;
	return pending;
}

/* How many processes can have a slot. */
int
damson_device_slots(void)
{
	return MaxBackends;
}
