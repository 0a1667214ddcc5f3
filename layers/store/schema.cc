#include "layers/store/schema.h"

#include "layers/store/database.h"

namespace surcoat {
namespace {

// Rows that others point at have a small number as key, so that the big tables stay small: a layer of ten
// thousand files is ten thousand pairs of numbers. The foreign keys are a net under gc: a row that is still
// referred to cannot be deleted, whatever a bug thinks.
constexpr const char* kTables = R"sql(
CREATE TABLE objects(
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,            -- sha256 of the content
    size INTEGER NOT NULL,
    allocated INTEGER NOT NULL,         -- st_blocks * 512
    condemned INTEGER,                  -- generation at which gc found it unreferenced
    unsynced TEXT                       -- boot in which it was written without syncing
);
CREATE INDEX objects_condemned ON objects(condemned) WHERE condemned IS NOT NULL;
CREATE INDEX objects_unsynced ON objects(unsynced) WHERE unsynced IS NOT NULL;
CREATE TABLE layers(
    number INTEGER PRIMARY KEY,
    diff_id TEXT NOT NULL UNIQUE,
    archive_bytes INTEGER NOT NULL,
    content_bytes INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    toc_bytes INTEGER NOT NULL,
    added_at INTEGER NOT NULL,
    unsynced_boot TEXT                  -- to be verified before its first use after another boot
);
CREATE TABLE layer_objects(
    layer INTEGER NOT NULL REFERENCES layers(number) ON DELETE CASCADE,
    object INTEGER NOT NULL REFERENCES objects(number),
    PRIMARY KEY(layer, object)
) WITHOUT ROWID;
CREATE INDEX layer_objects_object ON layer_objects(object);
CREATE TABLE layer_blobs(
    blob TEXT PRIMARY KEY,
    layer INTEGER NOT NULL REFERENCES layers(number) ON DELETE CASCADE,
    compression TEXT NOT NULL,
    size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX layer_blobs_layer ON layer_blobs(layer);
CREATE TABLE blobs(
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    media_type TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE images(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    manifest TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    created_at INTEGER
);
CREATE TABLE image_layers(
    image INTEGER NOT NULL REFERENCES images(number) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    layer INTEGER NOT NULL REFERENCES layers(number),
    PRIMARY KEY(image, position)
) WITHOUT ROWID;
CREATE INDEX image_layers_layer ON image_layers(layer);
CREATE TABLE names(
    name TEXT PRIMARY KEY,
    image INTEGER NOT NULL REFERENCES images(number) ON DELETE CASCADE,
    set_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX names_image ON names(image);
CREATE TABLE containers(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    image INTEGER NOT NULL REFERENCES images(number),
    image_name TEXT NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    monitor_pid INTEGER, monitor_ticks INTEGER, monitor_boot TEXT,
    init_pid INTEGER, init_ticks INTEGER, init_boot TEXT,
    exit_code INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL
);
CREATE INDEX containers_image ON containers(image);
CREATE TABLE container_layers(
    container INTEGER NOT NULL REFERENCES containers(number) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    layer INTEGER NOT NULL REFERENCES layers(number),
    PRIMARY KEY(container, position)
) WITHOUT ROWID;
CREATE INDEX container_layers_layer ON container_layers(layer);
CREATE TABLE cache(
    key TEXT PRIMARY KEY,
    parts TEXT NOT NULL,
    layer INTEGER REFERENCES layers(number),
    used_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX cache_layer ON cache(layer);
CREATE TABLE leases(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    purpose TEXT NOT NULL,
    pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL, boot_id TEXT NOT NULL,
    started_at INTEGER NOT NULL
);
CREATE TABLE lease_layers(
    lease INTEGER NOT NULL REFERENCES leases(number) ON DELETE CASCADE,
    layer INTEGER NOT NULL REFERENCES layers(number),
    PRIMARY KEY(lease, layer)
) WITHOUT ROWID;
CREATE INDEX lease_layers_layer ON lease_layers(layer);
CREATE TABLE lease_blobs(
    lease INTEGER NOT NULL REFERENCES leases(number) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    PRIMARY KEY(lease, digest)
) WITHOUT ROWID;
-- Numbers are never given out twice: a staged file's name says whose it is.
CREATE TABLE transactions(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    purpose TEXT NOT NULL,
    pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL, boot_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    started_at INTEGER NOT NULL
);
CREATE TABLE events(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    type TEXT NOT NULL,
    detail TEXT NOT NULL
);
-- What usage once worked out of an immutable chain; may be emptied at any time.
CREATE TABLE chain_sizes(
    key TEXT PRIMARY KEY,
    visible_bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES('generation', 0);
PRAGMA user_version = 1;
)sql";

}  // namespace

void create_schema(Database& database) {
    database.transaction(Database::Access::write, [&] {
        if (database.integer("PRAGMA user_version").value_or(0) == 0) database.script(kTables);
    });
}

}  // namespace surcoat
