/*
 * Where the server's planner meets batch_plan.c. Callers: the server, and batching.rs.
 *
 * The library may be loaded while the first query of a session is planned: by damson_catalog.scoring_support, the
 * support function that all scoring functions have. That plan misses the planner's hook, and is changed when it starts.
 * The planner asks the support function about every scoring call, so other queries cost nothing here.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "utils/plancache.h"

#include "batch.h"

/* Plans that are looked at for having been made while the library was loaded. */
#define LATE_TRIES 100

static planner_hook_type planner_before = NULL;
static ExecutorStart_hook_type start_before = NULL;
/* Calls of our planner's hook that are not over. */
static int	depth = 0;
/* Scoring calls that the planner has come by. */
static uint64 seen = 0;
/* The client's message during whose planning the library was loaded; 0 for none. */
static TimestampTz late = 0;
static int	late_tries = 0;

static PlannedStmt *
plan_statement(Query *parse, const char *query_string, int options, ParamListInfo params)
{
	uint64		before = seen;
	PlannedStmt *statement;

	depth++;
	PG_TRY();
	{
		statement = (planner_before ? planner_before : standard_planner) (parse, query_string, options, params);
	}
	PG_FINALLY();
	{
		depth--;
	}
	PG_END_TRY();
	if (seen != before && damson_batch_on())
		damson_batch_statement(statement, (options & CURSOR_OPT_FAST_PLAN) != 0);
	return statement;
}

/* Whether a plan is one that missed the planner's hook. */
static bool
calls_scoring(Node *node, void *nothing)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr) && damson_batch_is_scoring(((FuncExpr *) node)->funcid))
		return true;
	return expression_tree_walker(node, calls_scoring, nothing);
}

static bool
plan_calls_scoring(Plan *plan)
{
	ListCell   *lc;

	if (IsA(plan, CustomScan) && ((CustomScan *) plan)->methods == &damson_batch_methods)
		return false;
	if (calls_scoring((Node *) plan->targetlist, NULL) || calls_scoring((Node *) plan->qual, NULL))
		return true;
	foreach(lc, damson_batch_children(plan))
		if (plan_calls_scoring(*(Plan **) lfirst(lc)))
			return true;
	return false;
}

static bool
statement_calls_scoring(PlannedStmt *statement)
{
	ListCell   *lc;

	if (statement->planTree && plan_calls_scoring(statement->planTree))
		return true;
	foreach(lc, statement->subplans)
		if (lfirst(lc) && plan_calls_scoring(lfirst(lc)))
			return true;
	return false;
}

static void
start(QueryDesc *query, int flags)
{
	if (late != 0)
	{
		if (late != GetCurrentStatementStartTimestamp() || IsParallelWorker() || ++late_tries > LATE_TRIES)
			late = 0;
		else if (statement_calls_scoring(query->plannedstmt))
		{
			late = 0;
			/* The plan may be kept: then it is made anew for the next time. */
			ResetPlanCache();
			if (damson_batch_on())
			{
				query->plannedstmt = copyObject(query->plannedstmt);
				damson_batch_statement(query->plannedstmt, true);
			}
		}
	}
	(start_before ? start_before : standard_ExecutorStart) (query, flags);
}

/* The planner came by a call of a scoring function. */
void
damson_batch_seen(void)
{
	seen++;
	if (depth == 0)
	{
		late = GetCurrentStatementStartTimestamp();
		late_tries = 0;
	}
}

/* Called once, as the library is loaded. */
void
damson_batch_register(void)
{
	RegisterCustomScanMethods(&damson_batch_methods);
	planner_before = planner_hook;
	planner_hook = plan_statement;
	start_before = ExecutorStart_hook;
	ExecutorStart_hook = start;
}
