/*
 * Which columns an analysed query reads, and which of its own columns each of them goes into: through subqueries,
 * common table expressions, joins, set operations, and views, which the rewriter has put in as subqueries.
 *
 * Declared in reads.rs. Everything is allocated in the current memory context; any function may raise an error.
 * A place that was looked at is not looked at again, so the cost is bounded by places times outputs, and recursive
 * queries end.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tupdesc.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* One thing that was read. */
typedef struct Read
{
	Oid			relation;		/* or a function */
	int32		attribute;		/* 0: the relation as such */
	int32		output;			/* the query's column that it goes into, from 1; 0: it decides which rows there are */
	char		kind;			/* pg_class.relkind, or F for a function */
} Read;

/* What a thing that was read is called. */
typedef struct ReadName
{
	const char *schema;
	const char *relation;		/* or the function's */
	const char *column;			/* NULL for the relation as such */
	Oid			type;			/* the column's */
	int32		typmod;
} ReadName;

int			damson_reads(Query *query, Read **reads);
bool		damson_repeatable(Query *query);
bool		damson_read_name(const Read *read, ReadName *name);
const char *damson_type_name(Oid type);

/* A query, and the one around it, in which its outer references mean something. */
typedef struct Scope
{
	Query	   *query;
	struct Scope *outer;
} Scope;

typedef struct Walk
{
	HTAB	   *seen;
	Read	   *reads;
	int			count;
	int			room;
} Walk;

typedef struct Place
{
	Walk	   *walk;
	Scope	   *scope;
	int			output;
} Place;

/* One key for both kinds of things that are looked at once: places of queries, and reads that were noted. */
typedef struct SeenKey
{
	uintptr_t	place;
	int32		column;
	int32		output;
	int32		what;
	int32		zero;
} SeenKey;

static void walk_expression(Walk *walk, Scope *scope, Node *node, int output);
static void walk_conditions(Walk *walk, Scope *scope);
static void walk_column(Walk *walk, Scope *scope, int varno, int attribute, int output);

static bool
first_time(Walk *walk, uintptr_t place, int column, int output, int what)
{
	SeenKey		key;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.place = place;
	key.column = column;
	key.output = output;
	key.what = what;
	hash_search(walk->seen, &key, HASH_ENTER, &found);
	return !found;
}

static void
note(Walk *walk, Oid relation, int attribute, int output, char kind)
{
	if (!first_time(walk, (uintptr_t) relation, attribute, output, kind))
		return;
	if (walk->count == walk->room)
	{
		walk->room *= 2;
		walk->reads = repalloc(walk->reads, sizeof(Read) * walk->room);
	}
	walk->reads[walk->count].relation = relation;
	walk->reads[walk->count].attribute = attribute;
	walk->reads[walk->count].output = output;
	walk->reads[walk->count].kind = kind;
	walk->count++;
}

/* The view that a subquery stands for, or InvalidOid. */
static Oid
view_of(RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return rte->relkind == RELKIND_VIEW ? rte->relid : InvalidOid;
#else
	/* The rewriter leaves the view itself, as "old", at the head of the list of what its query reads. */
	RangeTblEntry *old;

	if (rte->subquery->rtable == NIL)
		return InvalidOid;
	old = linitial(rte->subquery->rtable);
	return old->rtekind == RTE_RELATION && old->relkind == RELKIND_VIEW && !old->inFromCl ? old->relid : InvalidOid;
#endif
}

static void
note_columns(Walk *walk, Oid relation, char kind, int output)
{
	Relation	rel = relation_open(relation, NoLock);
	int			i;

	for (i = 0; i < RelationGetDescr(rel)->natts; i++)
		if (!TupleDescAttr(RelationGetDescr(rel), i)->attisdropped)
			note(walk, relation, i + 1, output, kind);
	relation_close(rel, NoLock);
}

/* The columns of the parts of a UNION, INTERSECT or EXCEPT that make its column. */
static void
walk_set_operation(Walk *walk, Scope *scope, Node *node, int attribute, int output)
{
	check_stack_depth();
	if (IsA(node, RangeTblRef))
		walk_column(walk, scope, ((RangeTblRef *) node)->rtindex, attribute, output);
	else if (IsA(node, SetOperationStmt))
	{
		walk_set_operation(walk, scope, ((SetOperationStmt *) node)->larg, attribute, output);
		walk_set_operation(walk, scope, ((SetOperationStmt *) node)->rarg, attribute, output);
	}
}

/* A column of a query's result; 0 is all of them. */
static void
walk_result(Walk *walk, Query *query, Scope *outer, int attribute, int output)
{
	Scope		scope = {query, outer};
	ListCell   *cell;

	check_stack_depth();
	if (!first_time(walk, (uintptr_t) query, attribute, output, 1))
		return;
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst(cell);

		if (entry->resjunk || (attribute != 0 && entry->resno != attribute))
			continue;
		if (query->setOperations != NULL)
			walk_set_operation(walk, &scope, query->setOperations, entry->resno, output);
		else
			walk_expression(walk, &scope, (Node *) entry->expr, output);
	}
}

/* The common table expression that a reference means, and the scope that it stands in. */
static CommonTableExpr *
find_cte(Scope *scope, RangeTblEntry *rte, Scope **around)
{
	ListCell   *cell;
	Index		level;

	for (level = rte->ctelevelsup; level > 0 && scope != NULL; level--)
		scope = scope->outer;
	*around = scope;
	if (scope == NULL)
		return NULL;
	foreach(cell, scope->query->cteList)
	{
		CommonTableExpr *cte = lfirst(cell);

		if (strcmp(cte->ctename, rte->ctename) == 0 && cte->ctequery != NULL && IsA(cte->ctequery, Query))
			return cte;
	}
	return NULL;
}

/* A column of an entry of the range table; 0 is the whole row. */
static void
walk_column(Walk *walk, Scope *scope, int varno, int attribute, int output)
{
	RangeTblEntry *rte = rt_fetch(varno, scope->query->rtable);

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (!first_time(walk, (uintptr_t) rte, attribute, output, 2))
		return;
	switch (rte->rtekind)
	{
		case RTE_RELATION:
			note(walk, rte->relid, 0, 0, rte->relkind);
			if (attribute > 0)
				note(walk, rte->relid, attribute, output, rte->relkind);
			else if (attribute == 0)
				note_columns(walk, rte->relid, rte->relkind, output);
			break;
		case RTE_SUBQUERY:
			if (OidIsValid(view_of(rte)))
			{
				if (attribute > 0)
					note(walk, view_of(rte), attribute, output, RELKIND_VIEW);
				else
					note_columns(walk, view_of(rte), RELKIND_VIEW, output);
			}
			walk_result(walk, rte->subquery, scope, attribute, output);
			break;
		case RTE_JOIN:
			{
				ListCell   *cell;
				int			i = 1;

				foreach(cell, rte->joinaliasvars)
				{
					if ((attribute == 0 || i == attribute) && lfirst(cell) != NULL)
						walk_expression(walk, scope, lfirst(cell), output);
					i++;
				}
				break;
			}
		case RTE_CTE:
			{
				Scope	   *around;
				CommonTableExpr *cte = find_cte(scope, rte, &around);

				if (cte != NULL)
					walk_result(walk, (Query *) cte->ctequery, around, attribute, output);
				break;
			}
		case RTE_FUNCTION:
			walk_expression(walk, scope, (Node *) rte->functions, output);
			break;
		case RTE_TABLEFUNC:
			walk_expression(walk, scope, (Node *) rte->tablefunc, output);
			break;
		case RTE_VALUES:
			{
				ListCell   *row;

				foreach(row, rte->values_lists)
				{
					List	   *values = lfirst(row);

					if (attribute > 0 && attribute <= list_length(values))
						walk_expression(walk, scope, list_nth(values, attribute - 1), output);
					else
						walk_expression(walk, scope, (Node *) values, output);
				}
				break;
			}
#if PG_VERSION_NUM >= 180000
		case RTE_GROUP:
			if (attribute > 0 && attribute <= list_length(rte->groupexprs))
				walk_expression(walk, scope, list_nth(rte->groupexprs, attribute - 1), output);
			break;
#endif
		default:
			break;
	}
}

static void
note_function(Walk *walk, Oid function)
{
	if (OidIsValid(function) && get_func_namespace(function) != PG_CATALOG_NAMESPACE)
		note(walk, function, 0, 0, 'F');
}

static bool
walker(Node *node, Place *context)
{
	if (node == NULL)
		return false;
	check_stack_depth();
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		Scope	   *scope = context->scope;
		Index		level;

		for (level = var->varlevelsup; level > 0 && scope != NULL; level--)
			scope = scope->outer;
		if (scope != NULL && var->varno >= 1 && var->varno <= list_length(scope->query->rtable))
			walk_column(context->walk, scope, var->varno, var->varattno, context->output);
		return false;
	}
	if (IsA(node, Query))
	{
		/* a subquery in an expression: what it gives goes where the expression goes */
		Query	   *query = (Query *) node;
		Scope		scope = {query, context->scope};

		walk_result(context->walk, query, context->scope, 0, context->output);
		walk_conditions(context->walk, &scope);
		return false;
	}
	if (IsA(node, FuncExpr))
		note_function(context->walk, ((FuncExpr *) node)->funcid);
	else if (IsA(node, Aggref))
		note_function(context->walk, ((Aggref *) node)->aggfnoid);
	else if (IsA(node, WindowFunc))
		note_function(context->walk, ((WindowFunc *) node)->winfnoid);
	return expression_tree_walker(node, walker, (void *) context);
}

static void
walk_expression(Walk *walk, Scope *scope, Node *node, int output)
{
	Place context = {walk, scope, output};

	walker(node, &context);
}

/* Expressions of the target list that a list of clauses names. */
static void
walk_clauses(Walk *walk, Scope *scope, List *clauses)
{
	ListCell   *cell;

	foreach(cell, clauses)
	{
		TargetEntry *entry = get_sortgroupref_tle(((SortGroupClause *) lfirst(cell))->tleSortGroupRef,
												  scope->query->targetList);

		walk_expression(walk, scope, (Node *) entry->expr, 0);
	}
}

static void
walk_joins(Walk *walk, Scope *scope, Node *node)
{
	ListCell   *cell;

	check_stack_depth();
	if (node == NULL)
		return;
	if (IsA(node, FromExpr))
	{
		foreach(cell, ((FromExpr *) node)->fromlist)
			walk_joins(walk, scope, lfirst(cell));
		walk_expression(walk, scope, ((FromExpr *) node)->quals, 0);
	}
	else if (IsA(node, JoinExpr))
	{
		walk_joins(walk, scope, ((JoinExpr *) node)->larg);
		walk_joins(walk, scope, ((JoinExpr *) node)->rarg);
		walk_expression(walk, scope, ((JoinExpr *) node)->quals, 0);
	}
}

/* What decides which rows a query has: conditions, joins, groups, order, limits, and all of that of what it reads. */
static void
walk_conditions(Walk *walk, Scope *scope)
{
	Query	   *query = scope->query;
	ListCell   *cell;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (!first_time(walk, (uintptr_t) query, 0, 0, 3))
		return;
	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst(cell);

		switch (rte->rtekind)
		{
			case RTE_RELATION:
				note(walk, rte->relid, 0, 0, rte->relkind);
				break;
			case RTE_SUBQUERY:
				{
					Scope		inner = {rte->subquery, scope};

					if (OidIsValid(view_of(rte)))
						note(walk, view_of(rte), 0, 0, RELKIND_VIEW);
					walk_conditions(walk, &inner);
					break;
				}
			case RTE_FUNCTION:
				walk_expression(walk, scope, (Node *) rte->functions, 0);
				break;
			default:
				break;
		}
		walk_expression(walk, scope, (Node *) rte->securityQuals, 0);
		if (rte->tablesample != NULL)
			walk_expression(walk, scope, (Node *) rte->tablesample, 0);
	}
	foreach(cell, query->cteList)
	{
		CommonTableExpr *cte = lfirst(cell);

		if (cte->cterefcount > 0 && IsA(cte->ctequery, Query))
		{
			Scope		inner = {(Query *) cte->ctequery, scope};

			walk_conditions(walk, &inner);
		}
	}
	walk_joins(walk, scope, (Node *) query->jointree);
	walk_expression(walk, scope, query->havingQual, 0);
	walk_expression(walk, scope, query->limitOffset, 0);
	walk_expression(walk, scope, query->limitCount, 0);
	if (query->setOperations != NULL)
		return;					/* their clauses name columns of the result, not expressions */
	walk_clauses(walk, scope, query->groupClause);
	walk_clauses(walk, scope, query->distinctClause);
	walk_clauses(walk, scope, query->sortClause);
	foreach(cell, query->windowClause)
	{
		walk_clauses(walk, scope, ((WindowClause *) lfirst(cell))->partitionClause);
		walk_clauses(walk, scope, ((WindowClause *) lfirst(cell))->orderClause);
	}
}

/* All that an analysed and rewritten SELECT reads. */
int
damson_reads(Query *query, Read **reads)
{
	HASHCTL		control;
	Walk		walk;
	Scope		scope = {query, NULL};
	ListCell   *cell;

	memset(&control, 0, sizeof(control));
	control.keysize = sizeof(SeenKey);
	control.entrysize = sizeof(SeenKey);
	control.hcxt = CurrentMemoryContext;
	walk.seen = hash_create("damson reads", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	walk.room = 64;
	walk.count = 0;
	walk.reads = palloc(sizeof(Read) * walk.room);
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst(cell);

		if (!entry->resjunk)
			walk_result(&walk, query, NULL, entry->resno, entry->resno);
	}
	walk_conditions(&walk, &scope);
	hash_destroy(walk.seen);
	*reads = walk.reads;
	return walk.count;
}

static bool
varies(Node *node, void *context)
{
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, varies, context);
	foreach(cell, ((Query *) node)->rtable)
	{
		RangeTblEntry *rte = (RangeTblEntry *) lfirst(cell);

		if (rte->rtekind == RTE_RELATION && (rte->relkind == RELKIND_FOREIGN_TABLE || rte->tablesample != NULL))
			return true;
	}
	return query_tree_walker((Query *) node, varies, context, 0);
}

/*
 * Whether a query that runs twice under one snapshot gives the same rows, as far as can be told from it: it calls no
 * volatile function, samples no table, and reads no foreign one.
 */
bool
damson_repeatable(Query *query)
{
	return !contain_volatile_functions((Node *) query) && !varies((Node *) query, NULL);
}

/* What something is called that was read; false where it is no more. */
bool
damson_read_name(const Read *read, ReadName *name)
{
	bool		function = read->kind == 'F';
	Oid			schema = function ? get_func_namespace(read->relation) : get_rel_namespace(read->relation);
	HeapTuple	column;

	memset(name, 0, sizeof(*name));
	name->schema = get_namespace_name(schema);
	name->relation = function ? get_func_name(read->relation) : get_rel_name(read->relation);
	if (name->schema == NULL || name->relation == NULL)
		return false;
	if (function || read->attribute <= 0)
		return true;
	column = SearchSysCache2(ATTNUM, ObjectIdGetDatum(read->relation), Int16GetDatum(read->attribute));
	if (HeapTupleIsValid(column))
	{
		Form_pg_attribute form = (Form_pg_attribute) GETSTRUCT(column);

		name->column = pstrdup(NameStr(form->attname));
		name->type = form->atttypid;
		name->typmod = form->atttypmod;
		ReleaseSysCache(column);
	}
	return true;
}

/* The name of a type of pg_catalog; NULL for other types. */
const char *
damson_type_name(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	const char *name = NULL;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_type form = (Form_pg_type) GETSTRUCT(tuple);

		if (form->typnamespace == PG_CATALOG_NAMESPACE)
			name = pstrdup(NameStr(form->typname));
		ReleaseSysCache(tuple);
	}
	return name;
}
