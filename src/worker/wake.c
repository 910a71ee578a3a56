/* Background workers as others see them, and what a session does for the launcher of jobs right after its commit, when no
 * error may be raised any more. */

#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/lock.h"

#include "wake.h"

/* Whether nobody holds the lock. Testers share it, so that they do not take each other for a launcher. */
bool
damson_lock_is_free(const LOCKTAG *tag)
{
	LockAcquireResult result;

#if PG_VERSION_NUM >= 180000
	result = LockAcquireExtended(tag, ShareLock, true, true, false, NULL, false);
#else
	result = LockAcquireExtended(tag, ShareLock, true, true, false, NULL);
#endif
	if (result == LOCKACQUIRE_NOT_AVAIL)
		return false;
	LockRelease(tag, ShareLock, true);
	return true;
}

/*
 * The next background worker of that type, in whatever database; NULL after the last. `at` is 0 at first, when what an
 * earlier statement of the transaction saw is forgotten.
 */
PgBackendStatus *
damson_next_worker(const char *type, int *at)
{
	if (*at == 0)
#if PG_VERSION_NUM >= 150000
		pgstat_clear_backend_activity_snapshot();
#else
		pgstat_clear_snapshot();
#endif
	while (++*at <= pgstat_fetch_stat_numbackends())
	{
#if PG_VERSION_NUM >= 160000
		LocalPgBackendStatus *local = pgstat_get_local_beentry_by_index(*at);
#else
		LocalPgBackendStatus *local = pgstat_fetch_stat_local_beentry(*at);
#endif
		PgBackendStatus *status = local ? &local->backendStatus : NULL;
		const char *found;

		if (!status || status->st_backendType != B_BG_WORKER)
			continue;
		found = GetBackgroundWorkerTypeByPid(status->st_procpid);
		if (found && strcmp(found, type) == 0)
			return status;
	}
	return NULL;
}

/* Sets the latch of the background workers of that type in that database, but for this one. */
void
damson_wake(Oid database, const char *type)
{
	PgBackendStatus *worker;
	int			at = 0;

	while ((worker = damson_next_worker(type, &at)) != NULL)
		if (worker->st_databaseid == database && worker->st_procpid != MyProcPid)
			kill(worker->st_procpid, SIGUSR1);
}
