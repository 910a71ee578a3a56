/*
 * Nodes that score, in layers on top of a node that gives them what they need. Caller: batch_plan.c.
 *
 * Columns of a layer are atoms, which the layer below gives (columns, aggregates, scores of layers below), and its own
 * calls' scores. Everything above it is said in terms of those.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"

#include "batch.h"

typedef struct Atoms
{
	List	   *calls;			/* of the layer: they become columns of it */
	List	   *below;			/* calls of layers below: they are columns already */
	List	   *atoms;			/* what else becomes columns */
} Atoms;

static bool
is_atom(Node *node, List *below)
{
	return IsA(node, Var) || IsA(node, Aggref) || IsA(node, WindowFunc) || IsA(node, GroupingFunc) ||
		(IsA(node, FuncExpr) && list_member(below, node));
}

static bool
collect(Node *node, Atoms *atoms)
{
	if (node == NULL || (IsA(node, FuncExpr) && list_member(atoms->calls, node)))
		return false;
	if (is_atom(node, atoms->below))
	{
		atoms->atoms = list_append_unique(atoms->atoms, node);
		return false;
	}
	return expression_tree_walker(node, collect, atoms);
}

int
damson_batch_place_of(List *list, Node *node)
{
	ListCell   *lc;
	int			i = 0;

	foreach(lc, list)
	{
		i++;
		if (equal(lfirst(lc), node))
			return i;
	}
	elog(ERROR, "a batch has no column for an expression");
	return 0;
}

Node *
damson_batch_column(int varno, int attno, Node *node)
{
	return (Node *) makeVar(varno, attno, exprType(node), exprTypmod(node), exprCollation(node), 0);
}

/* Copies an expression in terms of the layer's columns: first the atoms, then the calls. */
static Node *
above(Node *node, Atoms *atoms)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, FuncExpr) && list_member(atoms->calls, node))
		return damson_batch_column(INDEX_VAR, list_length(atoms->atoms) + damson_batch_place_of(atoms->calls, node), node);
	if (is_atom(node, atoms->below))
		return damson_batch_column(INDEX_VAR, damson_batch_place_of(atoms->atoms, node), node);
	return expression_tree_mutator(node, above, atoms);
}

static TargetEntry *
entry(Node *node, int resno)
{
	return makeTargetEntry((Expr *) node, resno, NULL, false);
}

static List *
entries(List *expressions)
{
	List	   *tlist = NIL;
	ListCell   *lc;

	foreach(lc, expressions)
		tlist = lappend(tlist, entry(lfirst(lc), list_length(tlist) + 1));
	return tlist;
}

void
damson_batch_put_on(Plan *plan, Plan *below, Planning *planning)
{
	plan->startup_cost = below->startup_cost;
	plan->total_cost = below->total_cost;
	plan->plan_rows = below->plan_rows;
	plan->plan_width = below->plan_width;
	plan->parallel_safe = below->parallel_safe;
	plan->plan_node_id = planning->next_id++;
	plan->lefttree = below;
	plan->extParam = bms_copy(below->extParam);
	plan->allParam = bms_copy(below->allParam);
	plan->initPlan = below->initPlan;
	below->initPlan = NIL;
#if PG_VERSION_NUM >= 140000
	below->async_capable = false;	/* its new parent does not wait for it that way */
#endif
}

/* The plan whose rows are the values of `wanted`, with the first `level` layers on `base`. */
Plan *
damson_batch_build(Plan *base, List *layers, int level, List *wanted, Place place, Planning *planning)
{
	Layer	   *layer;
	Atoms		atoms = {NIL, NIL, NIL};
	List	   *offered;
	List	   *scan_tlist = NIL;
	List	   *tlist = NIL;
	CustomScan *scan;
	ListCell   *lc;

	if (level == 0)
	{
		base->targetlist = entries(wanted);
		return base;
	}
	layer = list_nth(layers, level - 1);
	atoms.calls = layer->calls;
	for (int i = 0; i < level - 1; i++)
		atoms.below = list_concat(atoms.below, ((Layer *) list_nth(layers, i))->calls);
	collect((Node *) wanted, &atoms);
	collect((Node *) layer->quals, &atoms);

	/* Below: the columns that go on, then what the calls are given. */
	offered = list_copy(atoms.atoms);
	foreach(lc, layer->calls)
	{
		ListCell   *argument;

		foreach(argument, ((FuncExpr *) lfirst(lc))->args)
			if (!IsA(lfirst(argument), Const))
				offered = list_append_unique(offered, lfirst(argument));
	}
	foreach(lc, atoms.atoms)
		scan_tlist = lappend(scan_tlist, entry(damson_batch_column(OUTER_VAR, list_length(scan_tlist) + 1, lfirst(lc)),
											   list_length(scan_tlist) + 1));
	foreach(lc, layer->calls)
	{
		FuncExpr   *call = makeNode(FuncExpr);
		ListCell   *argument;

		*call = *lfirst_node(FuncExpr, lc);
		call->args = NIL;
		foreach(argument, lfirst_node(FuncExpr, lc)->args)
		{
			Node	   *given = lfirst(argument);

			if (!IsA(given, Const))
				given = damson_batch_column(OUTER_VAR, damson_batch_place_of(offered, given), given);
			call->args = lappend(call->args, given);
		}
		scan_tlist = lappend(scan_tlist, entry((Node *) call, list_length(scan_tlist) + 1));
	}
	foreach(lc, wanted)
		tlist = lappend(tlist, entry(above(lfirst(lc), &atoms), list_length(tlist) + 1));

	scan = makeNode(CustomScan);
	scan->methods = &damson_batch_methods;
	scan->custom_scan_tlist = scan_tlist;
	scan->custom_private = list_make1(makeInteger(place.parallel ? 1 : 0));
	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = (List *) above((Node *) layer->quals, &atoms);
	if (place.limit && level == list_length(layers) && layer->quals == NIL)
		scan->custom_exprs = list_make2(place.limit->limitCount, place.limit->limitOffset ? place.limit->limitOffset :
										(Node *) makeConst(INT8OID, -1, InvalidOid, 8, Int64GetDatum(0), false, FLOAT8PASSBYVAL));
	damson_batch_put_on(&scan->scan.plan, damson_batch_build(base, layers, level - 1, offered, place, planning), planning);
	if (ExecSupportsBackwardScan(scan->scan.plan.lefttree))
		scan->flags |= CUSTOMPATH_SUPPORT_BACKWARD_SCAN;
	return &scan->scan.plan;
}
