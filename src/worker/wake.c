/* What a session does for the launcher of jobs right after its commit, when no error may be raised any more. */

#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/lock.h"
#if PG_VERSION_NUM >= 140000
#include "utils/backend_status.h"
#endif

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

/* Sets the latch of the background workers of that type in that database, but for this one. */
void
damson_wake(Oid database, const char *type)
{
	int			count;

	/* What an earlier statement of the transaction saw is old. */
#if PG_VERSION_NUM >= 150000
	pgstat_clear_backend_activity_snapshot();
#else
	pgstat_clear_snapshot();
#endif
	count = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= count; i++)
	{
#if PG_VERSION_NUM >= 160000
		LocalPgBackendStatus *local = pgstat_get_local_beentry_by_index(i);
#else
		LocalPgBackendStatus *local = pgstat_fetch_stat_local_beentry(i);
#endif
		PgBackendStatus *status = local ? &local->backendStatus : NULL;
		const char *found;

		if (!status || status->st_backendType != B_BG_WORKER || status->st_databaseid != database ||
			status->st_procpid == MyProcPid)
			continue;
		found = GetBackgroundWorkerTypeByPid(status->st_procpid);
		if (found && strcmp(found, type) == 0)
			kill(status->st_procpid, SIGUSR1);
	}
}
