/* What the files of batches have of each other: batch_*.c and batching.rs. Include postgres.h before. */
#ifndef DAMSON_BATCH_H
#define DAMSON_BATCH_H

#include "fmgr.h"
#include "nodes/extensible.h"
#include "nodes/plannodes.h"

/* Places in CustomScan.custom_private, all of them integers. */
#define BATCH_ALONE 0			/* 1 below a Gather: other processes score, too, so this one takes one thread */

/* What is known of a plan node's place. */
typedef struct Place
{
	bool		early;			/* rows may be left unread */
	bool		parallel;		/* several processes run it */
	bool		marked;			/* a merge join marks places in its output */
	Limit	   *limit;			/* right above, with bounds that can be known */
} Place;

/* A statement's plan while it is changed. */
typedef struct Planning
{
	int			next_id;		/* of plan nodes */
	bool		named;			/* whether it depends on what a model's name means */
} Planning;

/* Calls that one node makes, and what it filters by. */
typedef struct Layer
{
	List	   *calls;
	List	   *quals;
} Layer;

/* batch_calls.c */
extern bool damson_batch_is_scoring(Oid function);
extern List *damson_batch_gather(List *calls, Node *node, bool early, Planning *planning);

/* batch_layers.c */
extern Node *damson_batch_column(int varno, int attno, Node *node);
extern int	damson_batch_place_of(List *list, Node *node);
extern void damson_batch_put_on(Plan *plan, Plan *below, Planning *planning);
extern Plan *damson_batch_build(Plan *base, List *layers, int level, List *wanted, Place place, Planning *planning);

/* batch_plan.c */
extern List *damson_batch_children(Plan *plan);
extern void damson_batch_statement(PlannedStmt *statement, bool early);

/* batch_hooks.c */
extern void damson_batch_register(void);
extern void damson_batch_seen(void);

/* batch_node.c */
extern const CustomScanMethods damson_batch_methods;

/* batching.rs. A Scores is the scoring side of a node; rows and calls count from 0. */
typedef struct Scores Scores;

/* damson.batch_scoring */
extern bool damson_batch_on(void);
/* Whether a C function is one that scores in batches. */
extern bool damson_batch_serves(void *address);
/* Whether the model that a text names is scored faster in batches. */
extern bool damson_batch_pays(Datum reference);
/* Lives as long as the context. 0 threads are as many as damson.threads. */
extern Scores *damson_batch_new(MemoryContext context, int calls, int threads);
/* Makes ready for a batch, or for a scan from the beginning. */
extern void damson_batch_clear(Scores *scores, bool again);
/* Adds a row to a call; false where it fails, so that no row after it is needed. */
extern bool damson_batch_add(Scores *scores, int call, FunctionCallInfo fcinfo);
/* How many rows a batch may have, and about how many bytes it holds. */
extern int	damson_batch_rows(Scores *scores);
extern Size damson_batch_bytes(Scores *scores);
extern void damson_batch_score(Scores *scores);
/* Raises the error of a row that failed. */
extern Datum damson_batch_result(Scores *scores, int call, int row, bool *isnull);
/* Ends the threads. */
extern void damson_batch_end(Scores *scores);
/* For EXPLAIN. */
extern const char *damson_batch_device(Scores *scores);

#endif
