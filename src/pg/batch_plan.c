/*
 * Puts nodes that score in batches into plans. The node itself is batch_node.c; batch_calls.c says which calls it makes,
 * batch_layers.c makes it, batch_hooks.c comes here.
 *
 * A finished plan is changed rather than paths: then it does not matter which of its nodes evaluates an expression. A
 * node whose target list or filter calls a scoring function is left with what those calls are given and with the rest's
 * columns; nodes put on top of it score, filter and project:
 *
 *		Scan (a, predict('m', b))  WHERE c AND classify('k', d) = 'x' AND e
 *
 *		Batch (a, [predict])
 *		  Batch (a, b) WHERE [classify] = 'x' AND e
 *			Scan (a, b, d) WHERE c
 *
 * What a filter had before its first call stays below, what came after it stays behind: the order of a filter is what
 * security barriers and row-level security rely on. Calls of the target list are a layer of their own, so that they are
 * made for no row that a filter takes out.
 *
 * Batches read rows ahead. Where rows may be left unread (LIMIT, cursors, joins that stop early, subqueries) an error
 * of a row ahead must not come up, so there only calls are batched whose arguments cannot fail. Errors of scoring
 * itself wait for their row.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"

#include "batch.h"

/* Whether the node evaluates its target list from rows that it gets, and would evaluate any other. */
static bool
can_project(Plan *plan)
{
	switch (nodeTag(plan))
	{
		case T_SeqScan:
		case T_SampleScan:
		case T_IndexScan:
		case T_IndexOnlyScan:
		case T_BitmapHeapScan:
		case T_TidScan:
#if PG_VERSION_NUM >= 140000
		case T_TidRangeScan:
#endif
		case T_SubqueryScan:
		case T_FunctionScan:
		case T_TableFuncScan:
		case T_ValuesScan:
		case T_CteScan:
		case T_NamedTuplestoreScan:
		case T_WorkTableScan:
		case T_NestLoop:
		case T_MergeJoin:
		case T_HashJoin:
		case T_Gather:
		case T_GatherMerge:
			return true;
		case T_ForeignScan:
			return ((ForeignScan *) plan)->operation == CMD_SELECT;
		case T_Result:
			return plan->lefttree != NULL;
		case T_Agg:
			return ((Agg *) plan)->groupingSets == NIL && ((Agg *) plan)->chain == NIL;
		case T_WindowAgg:
#if PG_VERSION_NUM >= 150000
			return ((WindowAgg *) plan)->runCondition == NIL && plan->qual == NIL;
#else
			return true;
#endif
		default:
			return false;
	}
}

/*
 * Takes from a filter what is to be layers: from the first expression with calls on. `layers` are those of filters
 * that are evaluated before.
 */
static List *
take_quals(List **quals, List *layers, bool early, Planning *planning)
{
	List	   *kept = NIL;
	ListCell   *lc;

	foreach(lc, *quals)
	{
		Layer	   *last = layers == NIL ? NULL : llast(layers);
		List	   *known = NIL;
		List	   *calls;
		ListCell   *other;

		foreach(other, layers)
			known = list_concat(known, ((Layer *) lfirst(other))->calls);
		calls = list_difference(damson_batch_gather(NIL, lfirst(lc), early, planning), known);
		if (calls != NIL)
		{
			last = palloc0(sizeof(Layer));
			last->calls = calls;
			layers = lappend(layers, last);
		}
		if (last)
			last->quals = lappend(last->quals, lfirst(lc));
		else
			kept = lappend(kept, lfirst(lc));
	}
	*quals = kept;
	return layers;
}

static List **
join_quals(Plan *plan)
{
	switch (nodeTag(plan))
	{
		case T_NestLoop:
		case T_MergeJoin:
		case T_HashJoin:
			return &((Join *) plan)->joinqual;
		default:
			return NULL;
	}
}

/* The node with its scoring calls batched, or the node as it is. */
static Plan *
split(Plan *plan, Place place, Planning *planning)
{
	List	   *layers = NIL;
	List	   *wanted = NIL;
	List	   *known = NIL;
	List	   *calls = NIL;
	List	   *tlist = plan->targetlist;
	List	  **joined = join_quals(plan);
	bool		ahead = place.early || place.limit;
	Plan	   *top;
	ListCell   *lc;

	if (place.marked || !can_project(plan) || expression_returns_set((Node *) tlist))
		return plan;

	/* What an outer join joins by decides on more than whether there is a row. */
	if (joined && ((Join *) plan)->jointype == JOIN_INNER)
		layers = take_quals(joined, layers, ahead, planning);
	if (joined == NULL || ((Join *) plan)->jointype == JOIN_INNER)
		layers = take_quals(&plan->qual, layers, ahead, planning);
	foreach(lc, layers)
		known = list_concat(known, ((Layer *) lfirst(lc))->calls);
	foreach(lc, tlist)
		calls = damson_batch_gather(calls, (Node *) lfirst_node(TargetEntry, lc)->expr,
					   layers == NIL ? place.early : ahead, planning);
	calls = list_difference(calls, known);
	if (calls != NIL)
	{
		Layer	   *last = palloc0(sizeof(Layer));

		last->calls = calls;
		layers = lappend(layers, last);
	}
	if (layers == NIL)
		return plan;

	foreach(lc, tlist)
		wanted = lappend(wanted, lfirst_node(TargetEntry, lc)->expr);
	top = damson_batch_build(plan, layers, list_length(layers), wanted, place, planning);
	foreach(lc, tlist)
	{
		TargetEntry *made = list_nth_node(TargetEntry, top->targetlist, foreach_current_index(lc));
		Expr	   *expr = made->expr;

		*made = *lfirst_node(TargetEntry, lc);
		made->expr = expr;
	}
	return top;
}

/* Arguments of aggregates. */

static bool
find_aggregates(Node *node, List **found)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		*found = lappend(*found, node);
		return false;
	}
	return expression_tree_walker(node, find_aggregates, found);
}

typedef struct Given
{
	List	   *calls;
	int			before;			/* columns before theirs */
} Given;

/* Copies an expression with the calls as columns of the input. */
static Node *
give(Node *node, Given *given)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, FuncExpr) && list_member(given->calls, node))
		return damson_batch_column(OUTER_VAR, given->before + damson_batch_place_of(given->calls, node), node);
	return expression_tree_mutator(node, give, given);
}

/* Copies an expression over a node's output as one over the node's own input. */
static Node *
into(Node *node, List *tlist)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varno == OUTER_VAR)
		return copyObject((Node *) list_nth_node(TargetEntry, tlist, ((Var *) node)->varattno - 1)->expr);
	return expression_tree_mutator(node, into, tlist);
}

static bool
note_columns(Node *node, Bitmapset **columns)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		if (((Var *) node)->varno == OUTER_VAR)
			*columns = bms_add_member(*columns, ((Var *) node)->varattno);
		return false;
	}
	return expression_tree_walker(node, note_columns, columns);
}

/*
 * Lets an aggregation find the scores that its aggregates are given as columns of its input, whose own calls they then
 * are. An aggregate evaluates its filter for every row, and its arguments where it has none.
 */
static void
split_arguments(Agg *agg, bool early, Planning *planning)
{
	Plan	   *plan = &agg->plan;
	Plan	   *input = plan->lefttree;
	List	   *aggregates = NIL;
	List	   *tlist = NIL;
	Bitmapset  *needed = NULL;
	Given		given = {NIL, 0};
	ListCell   *lc;

	if (agg->groupingSets || agg->chain || input == NULL)
		return;
	find_aggregates((Node *) plan->targetlist, &aggregates);
	find_aggregates((Node *) plan->qual, &aggregates);
	foreach(lc, aggregates)
	{
		Aggref	   *aggregate = lfirst(lc);
		ListCell   *argument;

		if (aggregate->aggfilter)
			given.calls = damson_batch_gather(given.calls, (Node *) aggregate->aggfilter, early, planning);
		else
			foreach(argument, aggregate->args)
				given.calls = damson_batch_gather(given.calls, (Node *) lfirst_node(TargetEntry, argument)->expr, early,
												  planning);
	}
	if (given.calls == NIL)
		return;

	given.before = list_length(input->targetlist);
	plan->targetlist = (List *) give((Node *) plan->targetlist, &given);
	plan->qual = (List *) give((Node *) plan->qual, &given);
	note_columns((Node *) plan->targetlist, &needed);
	note_columns((Node *) plan->qual, &needed);
	for (int i = 0; i < agg->numCols; i++)
		needed = bms_add_member(needed, agg->grpColIdx[i]);

	if (!can_project(input) || expression_returns_set((Node *) input->targetlist))
	{
		Result	   *result = makeNode(Result);

		foreach(lc, input->targetlist)
		{
			TargetEntry *copy = flatCopyTargetEntry(lfirst(lc));

			copy->expr = (Expr *) damson_batch_column(OUTER_VAR, copy->resno, (Node *) copy->expr);
			tlist = lappend(tlist, copy);
		}
		result->plan.targetlist = tlist;
		damson_batch_put_on(&result->plan, input, planning);
		input = plan->lefttree = &result->plan;
		tlist = NIL;
	}
	else
		given.calls = (List *) into((Node *) given.calls, input->targetlist);
	foreach(lc, input->targetlist)
	{
		TargetEntry *copy = flatCopyTargetEntry(lfirst(lc));
		Node	   *expr = (Node *) copy->expr;

		/* An image that only calls were given is not to be carried on. */
		if (!bms_is_member(copy->resno, needed))
			copy->expr = (Expr *) makeNullConst(exprType(expr), exprTypmod(expr), exprCollation(expr));
		tlist = lappend(tlist, copy);
	}
	foreach(lc, given.calls)
		tlist = lappend(tlist, makeTargetEntry(lfirst(lc), list_length(tlist) + 1, NULL, false));
	input->targetlist = tlist;
}

/* The nodes below, as places of a plan where each stands. */
List *
damson_batch_children(Plan *plan)
{
	List	   *found = NIL;
	List	   *list = NIL;
	ListCell   *lc;

	switch (nodeTag(plan))
	{
		case T_Append:
			list = ((Append *) plan)->appendplans;
			break;
		case T_MergeAppend:
			list = ((MergeAppend *) plan)->mergeplans;
			break;
		case T_BitmapAnd:
			list = ((BitmapAnd *) plan)->bitmapplans;
			break;
		case T_BitmapOr:
			list = ((BitmapOr *) plan)->bitmapplans;
			break;
		case T_CustomScan:
			list = ((CustomScan *) plan)->custom_plans;
			break;
#if PG_VERSION_NUM < 140000
		case T_ModifyTable:
			list = ((ModifyTable *) plan)->plans;
			break;
#endif
		case T_SubqueryScan:
			found = lappend(found, &((SubqueryScan *) plan)->subplan);
			break;
		default:
			break;
	}
	foreach(lc, list)
		found = lappend(found, &lfirst(lc));
	if (plan->lefttree)
		found = lappend(found, &plan->lefttree);
	if (plan->righttree)
		found = lappend(found, &plan->righttree);
	return found;
}

/* Whether a bound is the same whenever it is asked for. */
static bool
is_known(Node *node)
{
	return !contain_volatile_functions(node) && !contain_subplans(node);
}

static Plan *
batch(Plan *plan, Place place, Planning *planning)
{
	Place		below = {0};
	ListCell   *lc;

	check_stack_depth();
	below.early = place.early || place.limit != NULL;
	below.parallel = place.parallel;
	switch (nodeTag(plan))
	{
		case T_CustomScan:
			return plan;		/* another's */
		case T_Limit:
			{
				Limit	   *limit = (Limit *) plan;

				if (limit->limitCount && is_known(limit->limitCount) && is_known(limit->limitOffset)
#if PG_VERSION_NUM >= 130000
					&& limit->limitOption == LIMIT_OPTION_COUNT
#endif
					)
					below.limit = limit;
				else
					below.early = true;
				break;
			}
		case T_Gather:
		case T_GatherMerge:
			below.parallel = true;
			break;
		case T_Sort:
		case T_Hash:
			below.early = false;	/* they want all rows */
			break;
		case T_Agg:
			if (((Agg *) plan)->aggstrategy != AGG_SORTED)
				below.early = false;
			break;
		case T_NestLoop:
		case T_MergeJoin:
		case T_HashJoin:
		case T_RecursiveUnion:
			below.early = true;
			break;
		case T_Result:
			below.marked = place.marked;
			break;
		default:
			break;
	}
	if (IsA(plan, Agg))
		split_arguments((Agg *) plan, below.early, planning);
	foreach(lc, damson_batch_children(plan))
	{
		Plan	  **child = lfirst(lc);
		Place		there = below;

		if (IsA(plan, MergeJoin) && child == &plan->righttree)
			there.marked = true;
		*child = batch(*child, there, planning);
	}
	return split(plan, place, planning);
}

static int
last_id(Plan *plan)
{
	int			last = plan->plan_node_id;
	ListCell   *lc;

	foreach(lc, damson_batch_children(plan))
		last = Max(last, last_id(*(Plan **) lfirst(lc)));
	return last;
}

void
damson_batch_statement(PlannedStmt *statement, bool early)
{
	Planning	planning = {0};
	Place		place = {0};
	ListCell   *lc;

	if (statement->planTree == NULL)
		return;
	planning.next_id = last_id(statement->planTree) + 1;
	foreach(lc, statement->subplans)
		if (lfirst(lc))
			planning.next_id = Max(planning.next_id, last_id(lfirst(lc)) + 1);
	place.early = early;
	statement->planTree = batch(statement->planTree, place, &planning);
	place.early = true;
	/* One that only a parallel node uses may run in several processes. */
	place.parallel = statement->parallelModeNeeded;
	foreach(lc, statement->subplans)
		if (lfirst(lc))
			lfirst(lc) = batch(lfirst(lc), place, &planning);
	if (planning.named)
	{
		/* Every change of a model invalidates plans that depend on this table (src/pg/change.rs). */
		Oid			schema = get_namespace_oid("damson_catalog", true);
		Oid			models = OidIsValid(schema) ? get_relname_relid("models", schema) : InvalidOid;

		if (OidIsValid(models))
			statement->relationOids = list_append_unique_oid(statement->relationOids, models);
	}
}
