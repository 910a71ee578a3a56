/*
 * The node that scores in batches; batch_plan.c puts it into plans.
 *
 * Its scan tuple has the columns of the node below that go on, then a column a call: custom_scan_tlist says so, and a
 * call's arguments there are constants or columns of the node below. It reads a batch of rows, keeping of each row what
 * goes on, has the batch scored, then filters, projects and returns row by row. Batches begin small and grow
 * (crates/engine/src/batch.rs); they end at LIMIT's bound where that is known, and at a row that failed: its error
 * is raised when its turn comes.
 *
 * The node can run backwards where the node below can: it steps that back to the beginning of the batch, and goes on
 * row by row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "commands/explain.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#endif
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "batch.h"

/* What a batch may hold. */
#define BATCH_BYTES ((Size) 16 << 20)

/* A call; where its arguments are in the row below, 0 for constants, which stand in `fcinfo` already. */
typedef struct Call
{
	FunctionCallInfo fcinfo;
	AttrNumber *places;
} Call;

typedef struct BatchState
{
	CustomScanState css;
	Scores	   *scores;
	int			ncalls;
	Call	   *calls;
	int			nkept;
	AttrNumber *kept;			/* columns of the row below that go on */
	TupleDesc	kept_desc;
	TupleTableSlot *kept_slot;
	Datum	   *values;
	bool	   *nulls;
	AttrNumber	last;			/* the last column of the row below that is looked at */
	ExprState  *count;			/* LIMIT's bounds */
	ExprState  *offset;

	/* The batch. */
	MemoryContext rows_context;
	MinimalTuple *rows;
	int			room;
	int			filled;
	int			at;				/* the current row; -1 before the first, `filled` behind the last */
	bool		over;			/* the node below has returned its last row */
	bool		bound_known;
	int64		bound;			/* rows that are still wanted for sure; negative: nobody knows */

	/* For EXPLAIN. */
	uint64		batches;
	uint64		scored;
} BatchState;

static Node *
create(CustomScan *scan)
{
	extern const CustomExecMethods damson_batch_exec;
	BatchState *node = (BatchState *) newNode(sizeof(BatchState), T_CustomScanState);

	node->css.methods = &damson_batch_exec;
	return (Node *) node;
}

static void
begin_call(Call *call, FuncExpr *function, BatchState *node)
{
	int			nargs = list_length(function->args);
	FmgrInfo   *info = palloc0(sizeof(FmgrInfo));
	ListCell   *lc;
	int			i = 0;

	fmgr_info(function->funcid, info);
	fmgr_info_set_expr((Node *) function, info);
	call->fcinfo = palloc0(SizeForFunctionCallInfo(nargs));
	call->places = palloc0(sizeof(AttrNumber) * nargs);
	InitFunctionCallInfoData(*call->fcinfo, info, nargs, function->inputcollid, NULL, NULL);
	foreach(lc, function->args)
	{
		if (IsA(lfirst(lc), Const))
		{
			call->fcinfo->args[i].value = ((Const *) lfirst(lc))->constvalue;
			call->fcinfo->args[i].isnull = ((Const *) lfirst(lc))->constisnull;
		}
		else
		{
			call->places[i] = lfirst_node(Var, lc)->varattno;
			node->last = Max(node->last, call->places[i]);
		}
		i++;
	}
}

static void
begin(CustomScanState *css, EState *estate, int eflags)
{
	BatchState *node = (BatchState *) css;
	CustomScan *scan = (CustomScan *) css->ss.ps.plan;
	int			columns = list_length(scan->custom_scan_tlist);
	bool		alone = intVal(list_nth(scan->custom_private, BATCH_ALONE)) != 0;
	ListCell   *lc;
	int			i = 0;

	outerPlanState(css) = ExecInitNode(outerPlan(scan), estate, eflags);
	node->calls = palloc0(sizeof(Call) * columns);
	node->kept = palloc0(sizeof(AttrNumber) * columns);
	foreach(lc, scan->custom_scan_tlist)
	{
		Expr	   *expr = lfirst_node(TargetEntry, lc)->expr;

		if (IsA(expr, Var))
		{
			node->kept[node->nkept++] = ((Var *) expr)->varattno;
			node->last = Max(node->last, ((Var *) expr)->varattno);
		}
		else
			begin_call(&node->calls[node->ncalls++], castNode(FuncExpr, expr), node);
	}
	if (scan->custom_exprs)
	{
		node->count = ExecInitExpr(linitial(scan->custom_exprs), &css->ss.ps);
		node->offset = ExecInitExpr(lsecond(scan->custom_exprs), &css->ss.ps);
	}

	node->kept_desc = CreateTemplateTupleDesc(node->nkept);
	for (i = 0; i < node->nkept; i++)
		TupleDescCopyEntry(node->kept_desc, i + 1, css->ss.ss_ScanTupleSlot->tts_tupleDescriptor, i + 1);
#if PG_VERSION_NUM >= 190000
	TupleDescFinalize(node->kept_desc);
#endif
	node->kept_slot = MakeSingleTupleTableSlot(node->kept_desc, &TTSOpsMinimalTuple);
	node->values = palloc(sizeof(Datum) * (columns + 1));
	node->nulls = palloc(sizeof(bool) * (columns + 1));
	node->rows_context = AllocSetContextCreate(CurrentMemoryContext, "damson batch", ALLOCSET_DEFAULT_SIZES);
	node->scores = damson_batch_new(CurrentMemoryContext, node->ncalls, alone || IsParallelWorker() ? 1 : 0);
	node->at = -1;
}

/* Forgets the batch. */
static void
clear(BatchState *node, bool again)
{
	ExecClearTuple(node->kept_slot);
	MemoryContextReset(node->rows_context);
	damson_batch_clear(node->scores, again);
	node->filled = 0;
	node->at = -1;
}

/* How many rows LIMIT lets through, or -1 where that is not known. */
static void
find_bound(BatchState *node)
{
	ExprContext *context = node->css.ss.ps.ps_ExprContext;
	bool		null;
	int64		bound;

	node->bound_known = true;
	node->bound = -1;
	if (node->count == NULL)
		return;
	bound = DatumGetInt64(ExecEvalExprSwitchContext(node->count, context, &null));
	if (null || bound < 0)
		return;
	node->bound = bound;
	bound = DatumGetInt64(ExecEvalExprSwitchContext(node->offset, context, &null));
	if (!null && bound > 0)
		node->bound = node->bound > PG_INT64_MAX - bound ? -1 : node->bound + bound;
}

/* Takes the row of the node below into the batch; gives whether more may follow. */
static bool
take(BatchState *node, TupleTableSlot *slot)
{
	ExprContext *context = node->css.ss.ps.ps_ExprContext;
	MemoryContext old;
	bool		good = true;

	slot_getsomeattrs(slot, node->last);
	ResetExprContext(context);
	old = MemoryContextSwitchTo(context->ecxt_per_tuple_memory);
	for (int c = 0; c < node->ncalls; c++)
	{
		Call	   *call = &node->calls[c];

		for (int i = 0; i < call->fcinfo->nargs; i++)
			if (call->places[i] > 0)
			{
				call->fcinfo->args[i].value = slot->tts_values[call->places[i] - 1];
				call->fcinfo->args[i].isnull = slot->tts_isnull[call->places[i] - 1];
			}
		good = damson_batch_add(node->scores, c, call->fcinfo) && good;
	}
	if (node->nkept > 0)
	{
		for (int i = 0; i < node->nkept; i++)
		{
			node->values[i] = slot->tts_values[node->kept[i] - 1];
			node->nulls[i] = slot->tts_isnull[node->kept[i] - 1];
		}
		MemoryContextSwitchTo(node->rows_context);
#if PG_VERSION_NUM >= 180000
		node->rows[node->filled] = heap_form_minimal_tuple(node->kept_desc, node->values, node->nulls, 0);
#else
		node->rows[node->filled] = heap_form_minimal_tuple(node->kept_desc, node->values, node->nulls);
#endif
	}
	MemoryContextSwitchTo(old);
	node->filled++;
	return good;
}

/* Reads and scores at most `most` rows, in the direction of the moment. */
static void
fill(BatchState *node, int most)
{
	Size		bytes = 0;

	clear(node, false);
	if (most > node->room)
	{
		MemoryContext old = MemoryContextSwitchTo(node->css.ss.ps.state->es_query_cxt);

		node->rows = node->rows ? repalloc(node->rows, sizeof(MinimalTuple) * most) :
			palloc(sizeof(MinimalTuple) * most);
		node->room = most;
		MemoryContextSwitchTo(old);
	}
	while (node->filled < most && bytes < BATCH_BYTES)
	{
		TupleTableSlot *slot = ExecProcNode(outerPlanState(node));

		if (TupIsNull(slot))
		{
			node->over = true;
			break;
		}
		if (!take(node, slot))
			break;
		bytes = damson_batch_bytes(node->scores);
		if (node->nkept > 0)
			bytes += MemoryContextMemAllocated(node->rows_context, false);
	}
	if (node->filled == 0)
		return;
	damson_batch_score(node->scores);
	node->batches++;
	node->scored += node->filled;
	if (node->bound > 0)
		node->bound = node->bound > node->filled ? node->bound - node->filled : 0;
}

static bool
forward(BatchState *node)
{
	int			most;

	if (node->at + 1 < node->filled)
	{
		node->at++;
		return true;
	}
	if (node->over)
	{
		node->at = node->filled;
		return false;
	}
	if (!node->bound_known)
		find_bound(node);
	most = damson_batch_on() ? damson_batch_rows(node->scores) : 1;
	if (node->bound > 0 && node->bound < most)
		most = (int) node->bound;
	fill(node, most);
	node->at = 0;
	return node->filled > 0;
}

static bool
backward(BatchState *node)
{
	PlanState  *below = outerPlanState(node);
	int			back;

	if (node->at > 0)
	{
		node->at--;
		return true;
	}
	/* The node below stands at the batch's last row, or behind all rows. */
	back = node->over ? node->filled : node->filled - 1;
	for (int i = 0; i < back; i++)
		ExecProcNode(below);
	node->over = false;
	fill(node, 1);
	if (node->filled == 0)
	{
		/* Before the first row. */
		node->over = false;
		node->at = -1;
		return false;
	}
	node->at = 0;
	return true;
}

/* Makes the current row the scan's tuple. */
static TupleTableSlot *
show(BatchState *node)
{
	TupleTableSlot *slot = node->css.ss.ss_ScanTupleSlot;
	MemoryContext old;

	ExecClearTuple(slot);
	if (node->nkept > 0)
	{
		ExecStoreMinimalTuple(node->rows[node->at], node->kept_slot, false);
		slot_getallattrs(node->kept_slot);
		memcpy(slot->tts_values, node->kept_slot->tts_values, sizeof(Datum) * node->nkept);
		memcpy(slot->tts_isnull, node->kept_slot->tts_isnull, sizeof(bool) * node->nkept);
	}
	old = MemoryContextSwitchTo(node->css.ss.ps.ps_ExprContext->ecxt_per_tuple_memory);
	for (int c = 0; c < node->ncalls; c++)
		slot->tts_values[node->nkept + c] =
			damson_batch_result(node->scores, c, node->at, &slot->tts_isnull[node->nkept + c]);
	MemoryContextSwitchTo(old);
	return ExecStoreVirtualTuple(slot);
}

static TupleTableSlot *
next(CustomScanState *css)
{
	BatchState *node = (BatchState *) css;
	ExprContext *context = css->ss.ps.ps_ExprContext;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		ResetExprContext(context);
		if (!(ScanDirectionIsBackward(css->ss.ps.state->es_direction) ? backward(node) : forward(node)))
			return ExecClearTuple(css->ss.ps.ps_ProjInfo ? css->ss.ps.ps_ResultTupleSlot : css->ss.ss_ScanTupleSlot);
		ResetExprContext(context);
		context->ecxt_scantuple = show(node);
		if (css->ss.ps.qual && !ExecQual(css->ss.ps.qual, context))
		{
			InstrCountFiltered1(css, 1);
			continue;
		}
		return css->ss.ps.ps_ProjInfo ? ExecProject(css->ss.ps.ps_ProjInfo) : context->ecxt_scantuple;
	}
}

static void
rescan(CustomScanState *css)
{
	BatchState *node = (BatchState *) css;

	clear(node, true);
	node->over = false;
	node->bound_known = false;
	if (outerPlanState(css)->chgParam == NULL)
		ExecReScan(outerPlanState(css));
}

static void
end(CustomScanState *css)
{
	BatchState *node = (BatchState *) css;

	damson_batch_end(node->scores);
	ExecDropSingleTupleTableSlot(node->kept_slot);
	ExecEndNode(outerPlanState(css));
}

static void
explain(CustomScanState *css, List *ancestors, ExplainState *es)
{
	BatchState *node = (BatchState *) css;
	List	   *models = NIL;

	for (int c = 0; c < node->ncalls; c++)
	{
		Call	   *call = &node->calls[c];
		bool		named = call->places[0] == 0;
		Node	   *name = (Node *) makeString(named ? TextDatumGetCString(call->fcinfo->args[0].value) : "by parameter");

		models = list_append_unique(models, name);
	}
	for (int i = 0; i < list_length(models); i++)
		lfirst(list_nth_cell(models, i)) = strVal(list_nth(models, i));
	if (list_length(models) == 1)
		ExplainPropertyText("Model", linitial(models), es);
	else
		ExplainPropertyList("Models", models, es);
	ExplainPropertyText("Device", damson_batch_device(node->scores), es);
	if (es->analyze)
	{
		/* Other processes of a parallel plan count for themselves. */
		ExplainPropertyInteger("Batches", NULL, node->batches, es);
		ExplainPropertyInteger("Rows Scored", NULL, node->scored, es);
	}
}

const CustomExecMethods damson_batch_exec = {
	.CustomName = "Damson Batch",
	.BeginCustomScan = begin,
	.ExecCustomScan = next,
	.EndCustomScan = end,
	.ReScanCustomScan = rescan,
	.ExplainCustomScan = explain,
};

const CustomScanMethods damson_batch_methods = {
	.CustomName = "Damson Batch",
	.CreateCustomScanState = create,
};
