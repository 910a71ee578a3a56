/*
 * Which calls of an expression can be made in batches: those that are made whenever the expression is evaluated, by
 * arguments that may be evaluated ahead. Callers: batch_plan.c and batch_hooks.c.
 *
 * The branches of CASE, COALESCE, AND and OR but for their first operand are left alone, and so are arguments that are
 * volatile, and models that a column names.
 */
#include "postgres.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"

#include "batch.h"

bool
damson_batch_is_scoring(Oid function)
{
	FmgrInfo	info;

	if (function < FirstNormalObjectId || !OidIsValid(get_func_support(function)))
		return false;
	fmgr_info(function, &info);
	return damson_batch_serves((void *) info.fn_addr);
}

/* Whether evaluation may raise an error, whatever the values. */
static bool
can_fail(Node *node, void *nothing)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Const:
		case T_Param:
		case T_RelabelType:
		case T_CollateExpr:
		case T_ConvertRowtypeExpr:
		case T_FieldSelect:
		case T_RowExpr:
		case T_ArrayExpr:
		case T_List:
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CoalesceExpr:
		case T_CaseExpr:
		case T_CaseWhen:
			break;
		case T_FuncExpr:
			if (!get_func_leakproof(((FuncExpr *) node)->funcid))
				return true;
			break;
		case T_OpExpr:
			if (!get_func_leakproof(((OpExpr *) node)->opfuncid))
				return true;
			break;
		default:
			return true;
	}
	return expression_tree_walker(node, can_fail, nothing);
}

static bool
is_batchable(FuncExpr *call, bool early, Planning *planning)
{
	Node	   *model;

	if (call->funcretset || call->args == NIL || !damson_batch_is_scoring(call->funcid))
		return false;
	model = linitial(call->args);
	while (IsA(model, RelabelType))
		model = (Node *) ((RelabelType *) model)->arg;
	if (!IsA(model, Const) && !IsA(model, Param))
		return false;
	if (contain_volatile_functions((Node *) call->args) ||
		(early && can_fail((Node *) call->args, NULL)))
		return false;
	if (IsA(model, Param))
		return true;			/* known when it is scored with */
	planning->named = true;
	return !((Const *) model)->constisnull && damson_batch_pays(((Const *) model)->constvalue);
}

/* Adds to `calls` those that are made whenever the expression is evaluated. */
List *
damson_batch_gather(List *calls, Node *node, bool early, Planning *planning)
{
	List	   *rest = NIL;
	ListCell   *lc;

	if (node == NULL)
		return calls;
	check_stack_depth();
	switch (nodeTag(node))
	{
		case T_FuncExpr:
			if (is_batchable((FuncExpr *) node, early, planning))
				return list_append_unique(calls, node);
			rest = ((FuncExpr *) node)->args;
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			rest = ((OpExpr *) node)->args;
			break;
		case T_ScalarArrayOpExpr:
			rest = ((ScalarArrayOpExpr *) node)->args;
			break;
		case T_ArrayExpr:
			rest = ((ArrayExpr *) node)->elements;
			break;
		case T_RowExpr:
			rest = ((RowExpr *) node)->args;
			break;
		case T_MinMaxExpr:
			rest = ((MinMaxExpr *) node)->args;
			break;
			/* The first operand is always evaluated, others by its value. */
		case T_BoolExpr:
			return damson_batch_gather(calls, linitial(((BoolExpr *) node)->args), early, planning);
		case T_CoalesceExpr:
			return damson_batch_gather(calls, linitial(((CoalesceExpr *) node)->args), early, planning);
		case T_CaseExpr:
			{
				CaseExpr   *choice = (CaseExpr *) node;
				CaseWhen   *first = linitial_node(CaseWhen, choice->args);

				return damson_batch_gather(calls, (Node *) (choice->arg ? choice->arg : first->expr), early, planning);
			}
		case T_RelabelType:
			return damson_batch_gather(calls, (Node *) ((RelabelType *) node)->arg, early, planning);
		case T_CoerceViaIO:
			return damson_batch_gather(calls, (Node *) ((CoerceViaIO *) node)->arg, early, planning);
		case T_CoerceToDomain:
			return damson_batch_gather(calls, (Node *) ((CoerceToDomain *) node)->arg, early, planning);
		case T_CollateExpr:
			return damson_batch_gather(calls, (Node *) ((CollateExpr *) node)->arg, early, planning);
		case T_FieldSelect:
			return damson_batch_gather(calls, (Node *) ((FieldSelect *) node)->arg, early, planning);
		case T_NullTest:
			return damson_batch_gather(calls, (Node *) ((NullTest *) node)->arg, early, planning);
		case T_BooleanTest:
			return damson_batch_gather(calls, (Node *) ((BooleanTest *) node)->arg, early, planning);
		case T_SubscriptingRef:
			return damson_batch_gather(calls, (Node *) ((SubscriptingRef *) node)->refexpr, early, planning);
		default:
			return calls;
	}
	foreach(lc, rest)
		calls = damson_batch_gather(calls, lfirst(lc), early, planning);
	return calls;
}
