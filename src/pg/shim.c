/*
 * What must be compiled against the server's own headers: access to values of variable length. Servers of the
 * Greenplum family lay their headers out differently from PostgreSQL, so Rust never touches them.
 *
 * Declared in shim.rs, guarded; the loops over rows of receiver.rs, columns.rs, bind.rs and scoring.rs call without a guard, which is why
 * they keep nothing to drop across a call. Any function here may raise an error.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tupdesc.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/tablespace.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#if PG_VERSION_NUM >= 140000
#include "utils/wait_event.h"
#else
#include "pgstat.h"
#endif

#include <unistd.h>

/* The bytes of a bytea. They live as long as the datum, or as the current memory context. */
const char *damson_bytes(Datum d, size_t *len);
/* The same of a text, as UTF-8. */
const char *damson_text(Datum d, size_t *len);
/* UTF-8 bytes of a C string in the server's encoding. */
const char *damson_utf8(const char *s, size_t *len);
/* UTF-8 bytes, which need not end in NUL, as a C string in the server's encoding. */
char *damson_cstring(const char *utf8, size_t len);
Datum damson_bytes_new(const char *bytes, size_t len);
Datum damson_text_new(const char *utf8, size_t len);

const char *
damson_bytes(Datum d, size_t *len)
{
	struct varlena *v = PG_DETOAST_DATUM_PACKED(d);

	*len = VARSIZE_ANY_EXHDR(v);
	return VARDATA_ANY(v);
}

static const char *
to_utf8(const char *s, size_t *len)
{
	char	   *converted;

	if (GetDatabaseEncoding() == PG_UTF8)
		return s;
	converted = pg_server_to_any(s, (int) *len, PG_UTF8);
	if (converted != s)
		*len = strlen(converted);
	return converted;
}

const char *
damson_text(Datum d, size_t *len)
{
	return to_utf8(damson_bytes(d, len), len);
}

const char *
damson_utf8(const char *s, size_t *len)
{
	*len = strlen(s);
	return to_utf8(s, len);
}

char *
damson_cstring(const char *utf8, size_t len)
{
	char	   *copy = pnstrdup(utf8, len);

	return GetDatabaseEncoding() == PG_UTF8 ? copy : pg_any_to_server(copy, (int) len, PG_UTF8);
}

Datum
damson_bytes_new(const char *bytes, size_t len)
{
	/* palloc refuses what does not fit, with an error */
	struct varlena *v = palloc(len + VARHDRSZ);

	SET_VARSIZE(v, len + VARHDRSZ);
	memcpy(VARDATA(v), bytes, len);
	return PointerGetDatum(v);
}

Datum
damson_text_new(const char *utf8, size_t len)
{
	char	   *s;

	if (GetDatabaseEncoding() == PG_UTF8)
		return damson_bytes_new(utf8, len);
	s = damson_cstring(utf8, len);
	return damson_bytes_new(s, strlen(s));
}

/* Arrays. */

typedef struct ArrayView
{
	const char *data;			/* the elements that are not NULL, one after another; maybe unaligned */
	const bits8 *nulls;			/* a bit an element, 0 for NULL; NULL pointer when there is none */
	Oid			element;
	int32		count;			/* elements, NULLs included, over all dimensions */
	int32		dims;
} ArrayView;

static void damson_array_view(struct varlena *v, ArrayView *view);
void		damson_array(Datum d, ArrayView *view);
Datum		damson_array_new(const char *values, int count, Oid element, int width);
int			damson_text_array(Datum d, Datum **values, bool **nulls);
Datum		damson_text_array_new(const char *const *utf8, const size_t *lens, int count);

double		damson_numeric(Datum d);

/* A numeric[] as float8[] of one dimension: what ARRAY[1.5, 2.5] is, so people write it. */
static struct varlena *
float8_array(Datum numerics)
{
	Datum	   *values;
	bool	   *nulls;
	int			count;
	int			lower = 1;
	int			i;

	deconstruct_array(DatumGetArrayTypeP(numerics), NUMERICOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	if (count == 0)
		return (struct varlena *) construct_empty_array(FLOAT8OID);
	for (i = 0; i < count; i++)
		if (!nulls[i])
			values[i] = Float8GetDatum(damson_numeric(values[i]));
	return (struct varlena *) construct_md_array(values, nulls, 1, &count, &lower,
												 FLOAT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static Oid
element_type(struct varlena *v)
{
	Oid			type;

	memcpy(&type, VARDATA_ANY(v) + offsetof(ArrayType, elemtype) - VARHDRSZ, sizeof(Oid));
	return type;
}

void
damson_array(Datum d, ArrayView *view)
{
	struct varlena *v = PG_DETOAST_DATUM_PACKED(d);

	if (element_type(v) == NUMERICOID)
		v = float8_array(PointerGetDatum(v));
	damson_array_view(v, view);
}

static void
damson_array_view(struct varlena *v, ArrayView *view)
{
	/*
	 * A short header shifts the whole array off its alignment, so it is read by memcpy rather than copied:
	 * stored rows of up to 126 bytes are the common case.
	 */
	const char *p = VARDATA_ANY(v);	/* everything after vl_len_ */
	int32		ndim;
	int32		dataoffset;
	int			i;
	int64		n = 1;

	memcpy(&ndim, p + offsetof(ArrayType, ndim) - VARHDRSZ, sizeof(int32));
	memcpy(&dataoffset, p + offsetof(ArrayType, dataoffset) - VARHDRSZ, sizeof(int32));
	memcpy(&view->element, p + offsetof(ArrayType, elemtype) - VARHDRSZ, sizeof(Oid));
	if (ndim < 0 || ndim > MAXDIM)
		elog(ERROR, "array has %d dimensions", ndim);
	for (i = 0; i < ndim; i++)
	{
		int32		dim;

		memcpy(&dim, p + sizeof(ArrayType) - VARHDRSZ + sizeof(int32) * i, sizeof(int32));
		n *= dim;
		if (dim < 0 || n > MaxAllocSize)
			elog(ERROR, "array has too many elements");
	}
	view->dims = ndim;
	view->count = ndim == 0 ? 0 : (int32) n;
	view->nulls = dataoffset ?
		(const bits8 *) (p + sizeof(ArrayType) - VARHDRSZ + 2 * sizeof(int32) * ndim) : NULL;
	view->data = p - VARHDRSZ + (dataoffset ? (Size) dataoffset : ARR_OVERHEAD_NONULLS(ndim));
}

Datum
damson_array_new(const char *values, int count, Oid element, int width)
{
	Size		bytes = (Size) count * width;
	Size		size = (count ? ARR_OVERHEAD_NONULLS(1) : ARR_OVERHEAD_NONULLS(0)) + bytes;
	ArrayType  *a = palloc0(size);

	SET_VARSIZE(a, size);
	a->ndim = count ? 1 : 0;
	a->dataoffset = 0;
	a->elemtype = element;
	if (count)
	{
		ARR_DIMS(a)[0] = count;
		ARR_LBOUND(a)[0] = 1;
		memcpy(ARR_DATA_PTR(a), values, bytes);
	}
	return PointerGetDatum(a);
}

int
damson_text_array(Datum d, Datum **values, bool **nulls)
{
	int			count;

	deconstruct_array(DatumGetArrayTypeP(d), TEXTOID, -1, false, TYPALIGN_INT, values, nulls, &count);
	return count;
}

Datum
damson_text_array_new(const char *const *utf8, const size_t *lens, int count)
{
	Datum	   *values;
	bool	   *nulls;
	int			lower = 1;
	int			i;

	if (count == 0)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	values = palloc0(sizeof(Datum) * count);
	nulls = palloc0(sizeof(bool) * count);
	for (i = 0; i < count; i++)
	{
		nulls[i] = utf8[i] == NULL;
		if (!nulls[i])
			values[i] = damson_text_new(utf8[i], lens[i]);
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, &count, &lower,
											  TEXTOID, -1, false, TYPALIGN_INT));
}

/* Numbers and documents. */

double		damson_numeric(Datum d);
Datum		damson_jsonb_new(const char *utf8, size_t len);
const char *damson_jsonb(Datum d, size_t *len);

double
damson_numeric(Datum d)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, d));
}

Datum
damson_jsonb_new(const char *utf8, size_t len)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(damson_cstring(utf8, len)));
}

const char *
damson_jsonb(Datum d, size_t *len)
{
	return damson_utf8(DatumGetCString(DirectFunctionCall1(jsonb_out, d)), len);
}

/* The owner of a schema, or InvalidOid where there is none. */
Oid			damson_schema_owner(const char *name);

Oid
damson_schema_owner(const char *name)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum(name));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/*
 * Whether the SQL of the extension has a function of this name in damson_catalog: 1 for yes, 0 for no, 2 where that
 * says nothing: there is no extension, or it is being made, updated, or moved by pg_upgrade.
 */
int			damson_sql_fits(const char *stamp);

int
damson_sql_fits(const char *stamp)
{
	Oid			extension = get_extension_oid("damson", true);
	Oid			schema;

	if (!OidIsValid(extension) || (creating_extension && CurrentExtensionObject == extension) || IsBinaryUpgrade)
		return 2;
	schema = get_namespace_oid("damson_catalog", true);
	return OidIsValid(schema) &&
		SearchSysCacheExists3(PROCNAMEARGSNSP, CStringGetDatum(stamp), PointerGetDatum(buildoidvector(NULL, 0)),
							  ObjectIdGetDatum(schema));
}

/* Whether a function is one of the library's. */
bool		damson_is_ours(Oid function);

bool
damson_is_ours(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		ours = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);

		ours = form->prolang == ClanguageId &&
			(form->pronamespace == get_namespace_oid("damson", true) ||
			 form->pronamespace == get_namespace_oid("damson_catalog", true));
		ReleaseSysCache(tuple);
	}
	return ours;
}

/* Whether a user has the rights of a role, as pg_has_role(..., 'USAGE'). */
bool		damson_has_role(Oid user, Oid role);

bool
damson_has_role(Oid user, Oid role)
{
	return has_privs_of_role(user, role);
}

/*
 * The null marks and values of the row at a place of a table, when the active snapshot sees one there: copies them
 * and returns their length. 0 where there is no such row, table or room. The lock stays, as after a query.
 */
size_t		damson_row_at(Oid table, uint32 block, uint16 offset, char *out, size_t room);

size_t
damson_row_at(Oid table, uint32 block, uint16 offset, char *out, size_t room)
{
	Relation	rel = try_relation_open(table, AccessShareLock);
	size_t		length = 0;

	if (rel == NULL)
		return 0;
	/* A place may lie behind the end of a table that was cut since. */
	if (rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		block < RelationGetNumberOfBlocks(rel))
	{
		HeapTupleData tuple;
		Buffer		buffer = InvalidBuffer;
		bool		found;

		ItemPointerSet(&tuple.t_self, block, offset);
#if PG_VERSION_NUM >= 150000
		found = heap_fetch(rel, GetActiveSnapshot(), &tuple, &buffer, false);
#else
		found = heap_fetch(rel, GetActiveSnapshot(), &tuple, &buffer);
#endif
		if (found)
		{
			length = tuple.t_len - SizeofHeapTupleHeader;
			if (length <= room)
				memcpy(out, (char *) tuple.t_data + SizeofHeapTupleHeader, length);
			else
				length = 0;
			ReleaseBuffer(buffer);
		}
	}
	relation_close(rel, NoLock);
	return length;
}

/* Rows. */

typedef struct Attribute
{
	const char *name;			/* in the server's encoding */
	Oid			type;
	int32		typmod;
	int16		len;
	int16		align;				/* bytes */
	bool		byval;
	bool		dropped;
} Attribute;

void		damson_attribute(TupleDesc desc, int i, Attribute *out);
const char *damson_row(TupleTableSlot *slot, int natts);
void		damson_deform(TupleTableSlot *slot, int natts);

void
damson_attribute(TupleDesc desc, int i, Attribute *out)
{
	Form_pg_attribute a = TupleDescAttr(desc, i);

	out->name = NameStr(a->attname);
	out->type = a->atttypid;
	out->typmod = a->atttypmod;
	out->len = a->attlen;
	out->align = a->attalign == TYPALIGN_DOUBLE ? ALIGNOF_DOUBLE :
		a->attalign == TYPALIGN_INT ? ALIGNOF_INT :
		a->attalign == TYPALIGN_SHORT ? ALIGNOF_SHORT : 1;
	out->byval = a->attbyval;
	out->dropped = a->attisdropped;
}

/*
 * The data of the row as it was stored, when it has the first natts attributes, none of them NULL, and nobody has
 * taken it apart yet; else NULL.
 */
const char *
damson_row(TupleTableSlot *slot, int natts)
{
	HeapTuple	tuple;

	if (slot->tts_nvalid >= natts)
		return NULL;
	if (slot->tts_ops == &TTSOpsBufferHeapTuple || slot->tts_ops == &TTSOpsHeapTuple)
		tuple = ((HeapTupleTableSlot *) slot)->tuple;
	else if (slot->tts_ops == &TTSOpsMinimalTuple)
		tuple = ((MinimalTupleTableSlot *) slot)->tuple;
	else
		return NULL;
	if (tuple == NULL || HeapTupleHasNulls(tuple) || HeapTupleHeaderGetNatts(tuple->t_data) < natts)
		return NULL;
	return (const char *) tuple->t_data + tuple->t_data->t_hoff;
}

void
damson_deform(TupleTableSlot *slot, int natts)
{
	slot_getsomeattrs(slot, natts);
}

/* The label of an enum's value, as UTF-8. */
const char *damson_enum(Datum d, size_t *len);

const char *
damson_enum(Datum d, size_t *len)
{
	return damson_utf8(DatumGetCString(DirectFunctionCall1(enum_out, d)), len);
}

/* Row values: arguments of a composite type. */

typedef struct Record
{
	HeapTupleHeader tuple;
	uint64		version;		/* changes whenever the columns may have */
	Oid			type;
	int32		typmod;
} Record;

void		damson_record(Datum d, Record *out);
TupleDesc	damson_record_desc(Oid type, int32 typmod);
void		damson_record_deform(HeapTupleHeader tuple, TupleDesc desc, Datum *values, bool *nulls);

void
damson_record(Datum d, Record *out)
{
	out->tuple = DatumGetHeapTupleHeader(d);
	out->type = HeapTupleHeaderGetTypeId(out->tuple);
	out->typmod = HeapTupleHeaderGetTypMod(out->tuple);
	out->version = assign_record_type_identifier(out->type, out->typmod);
}

/* A copy in the current memory context. */
TupleDesc
damson_record_desc(Oid type, int32 typmod)
{
	return lookup_rowtype_tupdesc_copy(type, typmod);
}

void
damson_record_deform(HeapTupleHeader tuple, TupleDesc desc, Datum *values, bool *nulls)
{
	HeapTupleData t;

	memset(&t, 0, sizeof(t));
	t.t_len = HeapTupleHeaderGetDatumLength(tuple);
	t.t_data = tuple;
	heap_deform_tuple(&t, desc, values, nulls);
}

/* Microseconds since 2000-01-01 of a time in text, such as a JSON document has. */
int64		damson_timestamp(const char *utf8, size_t len);

int64
damson_timestamp(const char *utf8, size_t len)
{
	return DatumGetTimestamp(DirectFunctionCall3(timestamp_in, CStringGetDatum(damson_cstring(utf8, len)),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/*
 * A temporary file of the server's, which counts by temp_file_limit, lies where temp_tablespaces says, and goes with its
 * resource owner, or when the server recovers from a crash.
 */
int			damson_file(void);
/* Writes from an offset on; raises what the system says. */
void		damson_file_write(int file, const char *bytes, size_t len, int64 at);
/* Another descriptor of it, for threads, which may not call the server; less than 0 where none is to be had. */
int			damson_file_descriptor(int file);
void		damson_file_close(int file);

int
damson_file(void)
{
	PrepareTempTablespaces();
	return OpenTemporaryFile(false);
}

void
damson_file_write(int file, const char *bytes, size_t len, int64 at)
{
	while (len > 0)
	{
		int			some = (int) Min(len, (size_t) 1 << 26);
		int			done;

		errno = 0;
		done = (int) FileWrite(file, (char *) bytes, some, at, WAIT_EVENT_BUFFILE_WRITE);
		if (done <= 0)
		{
			/* A disk that takes nothing and says nothing is full. */
			if (errno == 0)
				errno = ENOSPC;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write images to a temporary file: %m")));
		}
		bytes += done;
		at += done;
		len -= done;
		CHECK_FOR_INTERRUPTS();
	}
}

int
damson_file_descriptor(int file)
{
	int			raw = FileGetRawDesc(file);

	return raw < 0 ? raw : dup(raw);
}

void
damson_file_close(int file)
{
	FileClose(file);
}
