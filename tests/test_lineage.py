"""Lineage over real connections: exports pass the tools' own validators, dumps carry it, sessions do not collide."""

import copy
import datetime
import json
import pathlib
import subprocess

import psycopg
import pytest
from conftest import Background, one, wait_for
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

HERE = pathlib.Path(__file__).parent
SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
DATAHUB = HERE.parent / "build" / "datahub-venv" / "bin" / "python"

# The name of a facet in an event, and the file of its schema.
FACETS = {
    "schema": "SchemaDatasetFacet",
    "columnLineage": "ColumnLineageDatasetFacet",
    "datasetType": "DatasetTypeDatasetFacet",
    "version": "DatasetVersionDatasetFacet",
    "jobType": "JobTypeJobFacet",
    "sql": "SQLJobFacet",
    "processing_engine": "ProcessingEngineRunFacet",
    "nominalTime": "NominalTimeRunFacet",
    "outputStatistics": "OutputStatisticsOutputDatasetFacet",
}


@pytest.fixture
def exported(db):
    """A connection with a model of hostile names, trained through a view, and a table that it filled."""
    db.execute("""CREATE TABLE "Cli,ents" AS SELECT i AS id, i % 50 AS "a(g)e", 'r' || i % 3 AS "re gion", i % 5 = 0 AS gone
        FROM generate_series(1, 300) i""")
    db.execute("""CREATE VIEW seen AS SELECT id, "a(g)e" * 2 AS "äge", "re gion", gone FROM "Cli,ents" WHERE id > 10""")
    db.execute("SELECT * FROM damson.train('chu,rn (new)', 'seen', 'gone', 'logistic', features => '{äge,\"re gion\"}', description => 'Who leaves?')")
    db.execute("SELECT * FROM damson.score_into('scores', 'chu,rn (new)', 'seen', mode => 'merge', key => '{id}')")
    return db


FORMATS = FormatChecker()


@FORMATS.checks("date-time", ValueError)
def is_time(text):
    return datetime.datetime.fromisoformat(text)


def events(connection, model):
    return [row[0] for row in connection.execute("SELECT event FROM damson.openlineage(%s)", [model])]


def schema(name):
    return json.loads((HERE / "openlineage" / f"{name}.json").read_text())


def registry():
    files = (schema(path.stem) for path in (HERE / "openlineage").glob("*.json"))
    return Registry().with_resources((s["$id"], Resource.from_contents(s)) for s in files)


def faults(event):
    """What OpenLineage's own schemas find wrong with an event and with each of its facets."""
    known = registry()

    def check(what, against):
        return list(Draft202012Validator(against, registry=known, format_checker=FORMATS).iter_errors(what))

    found = check(event, {"$ref": f"{SPEC}#/$defs/RunEvent"})
    holders = [event.get("run", {}), event.get("job", {}), *event.get("inputs", []), *event.get("outputs", [])]
    for holder in holders:
        for name, facet in {**holder.get("facets", {}), **holder.get("outputFacets", {})}.items():
            found += check({name: facet}, schema(FACETS[name]))
            url = facet["_schemaURL"].split("#")[0]
            if url != schema(FACETS[name])["$id"]:
                found.append(f"{name} names the schema {url}")
    return found


def test_openlineage_events_pass_the_published_schemas(exported):
    found = events(exported, "chu,rn (new)")
    assert len(found) == 2
    for event in found:
        assert faults(event) == []
    training, filling = found
    database = exported.info.dbname
    assert [i["name"] for i in training["inputs"]] == [f"{database}.public.Cli,ents"]
    columns = training["outputs"][0]["facets"]["columnLineage"]
    assert {name: [f["field"] for f in of["inputFields"]] for name, of in columns["fields"].items()} == {
        "äge": ["a(g)e"], "re gion": ["re gion"], "gone": ["gone"]}
    assert [f["field"] for f in columns["dataset"]] == ["id"]
    assert {i["name"] for i in filling["inputs"]} == {f"{database}.public.Cli,ents", f"{database}.damson.chu,rn (new)"}
    assert set(filling["outputs"][0]["facets"]["columnLineage"]["fields"]) == {"id", "prediction", "probability"}
    assert events(exported, "chu,rn (new)")[0]["run"]["runId"] == training["run"]["runId"]
    assert training["run"]["runId"] != filling["run"]["runId"]


def cut(*path):
    """Takes a place out of a document."""

    def change(document):
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


def put(value, *path):
    """Sets a place of a document."""

    def change(document):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize("change", [
    cut("run"), cut("run", "runId"), put("run 7", "run", "runId"), cut("eventTime"), put("yesterday", "eventTime"),
    put("DONE", "eventType"), cut("producer"), cut("schemaURL"), cut("job", "name"), cut("job", "namespace"),
    cut("inputs", 0, "name"), cut("outputs", 0, "namespace"),
    cut("job", "facets", "sql", "query"), cut("job", "facets", "jobType", "processingType"),
    cut("run", "facets", "processing_engine", "version"),
    cut("outputs", 0, "facets", "datasetType", "datasetType"), cut("outputs", 0, "facets", "version", "datasetVersion"),
    cut("outputs", 0, "facets", "columnLineage", "fields"),
    cut("outputs", 0, "facets", "columnLineage", "fields", "gone", "inputFields", 0, "field"),
    cut("outputs", 0, "facets", "columnLineage", "fields", "gone", "inputFields", 0, "transformations", 0, "type"),
    cut("outputs", 0, "facets", "schema", "fields", 0, "name"), cut("outputs", 0, "facets", "schema", "_producer"),
    put("https://openlineage.io/spec/facets/0-9-9/SQLJobFacet.json", "job", "facets", "sql", "_schemaURL"),
])
def test_a_mutated_event_fails_them(exported, change):
    event = copy.deepcopy(events(exported, "chu,rn (new)")[0])
    assert faults(event) == []
    change(event)
    assert faults(event)


def datahub(*arguments):
    if not DATAHUB.exists():
        pytest.skip("there is no build/datahub-venv; scripts/setup.sh makes it")
    environment = {"PATH": str(DATAHUB.parent), "HOME": "/nonexistent", "DATAHUB_TELEMETRY_ENABLED": "false"}
    return subprocess.run([DATAHUB, *arguments], capture_output=True, text=True, env=environment, timeout=120)


# DataHub lets unknown names of aspects pass, so they are looked up; then its own check of files.
CHECK = """
import json, sys
from datahub.metadata.schema_classes import ASPECT_NAME_MAP
from datahub.utilities.urns.urn import Urn
from datahub.ingestion.source.file import read_metadata_file
import pathlib
for path in sys.argv[1:]:
    try:
        for p in json.load(open(path)):
            assert p["aspectName"] in ASPECT_NAME_MAP, p["aspectName"]
            assert Urn.from_string(p["entityUrn"]).entity_type == p["entityType"], p["entityUrn"]
        for record in read_metadata_file(pathlib.Path(path)):
            assert record.validate(), record
        print("valid")
    except Exception as e:
        print("invalid", type(e).__name__, str(e)[:100].replace(chr(10), " "))
"""


def test_datahub_takes_the_metadata_and_no_mutated_one(exported, tmp_path):
    good = one(exported, "SELECT damson.datahub('chu,rn (new)')")
    assert {(p["entityType"], p["aspectName"]) for p in good} == {
        ("mlModelGroup", "mlModelGroupProperties"), ("mlModel", "mlModelProperties"),
        ("dataProcessInstance", "dataProcessInstanceProperties"), ("dataProcessInstance", "mlTrainingRunProperties"),
        ("dataProcessInstance", "dataProcessInstanceInput"), ("dataProcessInstance", "dataProcessInstanceOutput"),
        ("dataset", "upstreamLineage")}
    lineage = [p["aspect"]["json"] for p in good if p["aspectName"] == "upstreamLineage"]
    assert [len(x["fineGrainedLineages"]) for x in lineage] == [3, 3]
    changes = [
        put("mlModelPropertiez", 1, "aspectName"), put("urn:li:mlModel:x(", 1, "entityUrn"), cut(2, "aspect", "json", "created"),
        put(7, 1, "aspect", "json", "hyperParams", 0, "name"), put([1], 4, "aspect", "json", "inputs"),
        cut(6, "aspect", "json", "upstreams", 0, "dataset"), put("MOVED", 6, "aspect", "json", "upstreams", 0, "type"),
        put("FIELDS", 6, "aspect", "json", "fineGrainedLineages", 0, "upstreamType"), put("now", 1, "aspect", "json", "date"),
        put({"a": 1}, 0, "aspect", "json", "customProperties"),
    ]
    files = [tmp_path / "good.json"]
    files[0].write_text(json.dumps(good))
    for number, change in enumerate(changes):
        bad = copy.deepcopy(good)
        change(bad)
        files.append(tmp_path / f"bad_{number}.json")
        files[-1].write_text(json.dumps(bad))
    said = datahub("-c", CHECK, *map(str, files))
    lines = said.stdout.splitlines()
    assert lines[0] == "valid", said.stdout + said.stderr
    assert len(lines) == len(files) and all(line.startswith("invalid") for line in lines[1:]), said.stdout + said.stderr
    whole = datahub("-m", "datahub", "check", "metadata-file", str(files[0]))
    assert whole.returncode == 0, whole.stdout + whole.stderr


def test_a_dump_carries_the_lineage(exported, server):
    exported.execute("SELECT * FROM damson.train('next', 'SELECT s.probability, c.\"a(g)e\", c.gone FROM scores s JOIN \"Cli,ents\" c USING (id)', 'gone', 'logistic', key_column => NULL)")
    exported.execute("SELECT * FROM damson.train('keyed', 'seen', 'gone', 'boosting', features => '{äge}', key_column => 'id')")
    asked = [
        "SELECT * FROM damson.upstream('next')", "SELECT * FROM damson.downstream('\"Cli,ents\"')", "SELECT * FROM damson.lineage_columns",
        "SELECT * FROM damson.training_columns", "SELECT relation, model, version, filled_rows FROM damson.filled_tables",
        "SELECT count(*) FILTER (WHERE damson.used_row('keyed', id::text)) FROM \"Cli,ents\"",
        "SELECT what, recorded, found FROM damson.reproduce('keyed')",
    ]
    before = [exported.execute(sql).fetchall() for sql in asked]
    assert all(before)
    with server.copied(exported) as copy, server.connect(dbname=copy) as restored:
        assert [restored.execute(sql).fetchall() for sql in asked] == before
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            restored.execute("SET damson.protect_sources = 'refuse'")
            restored.execute('ALTER TABLE "Cli,ents" RENAME TO clients')
        assert one(restored, "SELECT \"rows\" FROM damson.score_into('scores', 'keyed', 'SELECT * FROM seen WHERE id = 20', mode => 'merge', key => '{id}')") == 1


def test_a_session_that_never_called_the_extension_is_warned(exported, connect):
    heard = []
    other = connect()
    other.add_notice_handler(lambda notice: heard.append((notice.severity, notice.message_primary)))
    other.execute("DROP TABLE scores")
    assert heard == []
    other.execute('DROP TABLE "Cli,ents" CASCADE')
    warned = [text for severity, text in heard if severity == "WARNING"]
    assert any('public."Cli,ents"' in text and '"chu,rn (new)@1"' in text for text in warned), heard


def test_without_its_library_the_setting_still_guards_nothing_else(exported, connect):
    """A setting of the database reaches the trigger before anything else has loaded the library."""
    exported.execute(f"ALTER DATABASE {exported.info.dbname} SET damson.protect_sources = 'refuse'")
    fresh = connect()
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        fresh.execute("DROP VIEW seen")
    fresh.execute("CREATE TABLE other (x int); DROP TABLE other")
    fresh.execute("DROP EXTENSION damson CASCADE")
    fresh.execute("DROP VIEW seen")


def test_incremental_fillings_at_once_score_no_row_twice(exported, connect):
    fill = "SELECT * FROM damson.score_into('grown', 'chu,rn (new)', 'seen', incremental => 'id')"
    exported.execute(fill)
    exported.execute("""INSERT INTO "Cli,ents" SELECT i, i % 50, 'r1', false FROM generate_series(301, 600) i""")
    first, second = connect(), connect()
    first.execute("BEGIN")
    assert first.execute(fill).fetchone()[4] == 300
    waiting = Background(lambda: second.execute(fill).fetchone()[4])
    pid = second.info.backend_pid
    wait_for(lambda: one(exported, f"SELECT wait_event_type FROM pg_stat_activity WHERE pid = {pid}") == "Lock", "the second to wait")
    first.execute("COMMIT")
    assert waiting.result() == 0
    assert exported.execute("SELECT count(*), count(DISTINCT id) FROM grown").fetchone() == (590, 590)


def test_no_rights_are_gained_by_filling(exported, connect, role):
    """score_into runs the caller's source into the caller's table with the caller's rights."""
    bob = role("filler")
    exported.execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {bob}")
    exported.execute(f"CALL damson.grant_model('chu,rn (new)', '{bob}')")
    his = connect(user=bob)
    for table, source in [("stolen", "seen"), ("scores", "SELECT 1 AS id, 2 AS \"äge\", 'r1' AS \"re gion\"")]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            his.execute("SELECT * FROM damson.score_into(%s, 'chu,rn (new)', %s, key => '{id}')", [table, source])
    his.execute("SELECT * FROM damson.score_into('his', 'chu,rn (new)', %s, key => '{id}')", ["SELECT 1 AS id, 2 AS \"äge\", 'r1' AS \"re gion\""])
    assert one(exported, "SELECT tableowner FROM pg_tables WHERE tablename = 'his'") == bob
    # What he was granted shows him columns, and neither sources, nor values, nor others' fillings' sources.
    assert his.execute("SELECT count(source) FROM damson.lineage").fetchone() == (0,)
    assert his.execute("SELECT relation, source IS NULL FROM damson.filled_tables ORDER BY 1").fetchall() == [
        ("public.his", False), ("public.scores", True)]
    assert his.execute("SELECT count(*) FROM damson.training_columns").fetchone() == (0,)
    assert "sql" not in events(his, "chu,rn (new)")[0]["job"]["facets"]
