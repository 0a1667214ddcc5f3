#include <fmt/format.h>

#include <ctime>

#include "layers/base/error.h"
#include "layers/store/catalogue.h"
#include "layers/store/database.h"

namespace surcoat {
namespace {

std::int64_t now() {
    return std::time(nullptr);
}

std::int64_t layer_number(Database& database, const DiffId& id, std::string_view wanted_by) {
    if (const auto number = database.integer("SELECT number FROM layers WHERE diff_id = ?", id))
        return *number;
    throw Error(Errc::failed,
                fmt::format("layer {}, which {} needs, is not in the store", id.str(), wanted_by))
        .hint("if it was there before, `surcoat gc` took it: try again");
}

std::int64_t image_number(Database& database, const Digest& id) {
    if (const auto number = database.integer("SELECT number FROM images WHERE id = ?", id)) return *number;
    throw Error(Errc::not_found, fmt::format("image {} is not in the store", id.str()))
        .hint("`surcoat images -a` lists what is");
}

template <typename T, typename Get>
auto each(const std::optional<T>& value, Get get) -> std::optional<std::decay_t<decltype(get(*value))>> {
    if (!value) return std::nullopt;
    return get(*value);
}

std::optional<std::int64_t> pid_of(const std::optional<ProcessIdentity>& p) {
    return each(p, [](const ProcessIdentity& v) { return std::int64_t{v.pid}; });
}
std::optional<std::uint64_t> ticks_of(const std::optional<ProcessIdentity>& p) {
    return each(p, [](const ProcessIdentity& v) { return v.start_ticks; });
}
std::optional<std::string> boot_of(const std::optional<ProcessIdentity>& p) {
    return each(p, [](const ProcessIdentity& v) { return v.boot_id; });
}

void require_container(Database& database, std::int64_t changed, const std::string& id) {
    if (changed == 0 && !database.integer("SELECT number FROM containers WHERE id = ?", id)) {
        throw Error(Errc::not_found, fmt::format("container {} is not in the store", id));
    }
}

}  // namespace

void Catalogue::Write::add_blob(const BlobRow& row) {
    database_.run(
        "INSERT INTO blobs(digest, size, media_type) VALUES(?, ?, ?) ON CONFLICT(digest) DO NOTHING",
        row.digest, row.size, row.media_type);
}

void Catalogue::Write::add_layer_blob(const LayerBlobRow& row) {
    const std::int64_t layer = layer_number(database_, row.diff_id, fmt::format("blob {}", row.blob.str()));
    database_.run(
        "INSERT INTO layer_blobs(blob, layer, compression, size) VALUES(?, ?, ?, ?) "
        "ON CONFLICT(blob) DO NOTHING",
        row.blob, layer, to_string(row.compression), row.size);
}

void Catalogue::Write::add_image(const ImageRow& row) {
    // The same configuration may come under another manifest (compressed anew, say): the last one counts.
    database_.run(
        "INSERT INTO images(id, manifest, added_at, created_at) VALUES(?, ?, ?, ?) "
        "ON CONFLICT(id) DO UPDATE SET manifest = excluded.manifest",
        row.id, row.manifest, row.added_at != 0 ? row.added_at : now(), row.created_at);
    const std::int64_t image = image_number(database_, row.id);
    if (database_.integer("SELECT 1 FROM image_layers WHERE image = ? LIMIT 1", image)) return;
    std::int64_t position = 0;
    for (const DiffId& layer : row.layers) {
        database_.run("INSERT INTO image_layers(image, position, layer) VALUES(?, ?, ?)", image, position++,
                      layer_number(database_, layer, fmt::format("image {}", row.id.str())));
    }
}

void Catalogue::Write::set_name(const std::string& name, const Digest& image) {
    database_.run(
        "INSERT INTO names(name, image, set_at) VALUES(?, ?, ?) "
        "ON CONFLICT(name) DO UPDATE SET image = excluded.image, set_at = excluded.set_at",
        name, image_number(database_, image), now());
}

bool Catalogue::Write::remove_name(const std::string& name) {
    return database_.run("DELETE FROM names WHERE name = ?", name) > 0;
}

void Catalogue::Write::remove_image(const Digest& id) {
    try {
        database_.run("DELETE FROM images WHERE id = ?", id);
    } catch (const Error& error) {
        if (!Database::is_constraint(error)) throw;
        std::string names;
        auto users = database_.prepare(
            "SELECT c.name FROM containers c JOIN images i ON i.number = c.image "
            "WHERE i.id = ? ORDER BY c.name LIMIT 5");
        users.bind(id);
        while (users.step()) names += (names.empty() ? "" : ", ") + users.text(0);
        throw Error(Errc::conflict, fmt::format("image {} is used by container {}", id.short_hex(), names))
            .hint("remove the containers first: surcoat rm " + names);
    }
}

void Catalogue::Write::add_container(const ContainerRow& row) {
    if (database_.integer("SELECT 1 FROM containers WHERE name = ?", row.name)) {
        throw Error(Errc::conflict, fmt::format("there is a container named '{}' already", row.name))
            .hint(fmt::format("choose another name, or remove that one: surcoat rm {}", row.name));
    }
    database_.run(
        "INSERT INTO containers(id, name, image, image_name, spec, state, monitor_pid, monitor_ticks, "
        "monitor_boot, init_pid, init_ticks, init_boot, exit_code, created_at, started_at, finished_at) "
        "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row.id, row.name, image_number(database_, row.image), row.image_name, row.spec, row.state,
        pid_of(row.monitor), ticks_of(row.monitor), boot_of(row.monitor), pid_of(row.init),
        ticks_of(row.init), boot_of(row.init), row.exit_code, row.created_at, row.started_at,
        row.finished_at);
    const std::int64_t container = database_.last_id();
    std::int64_t position = 0;
    for (const DiffId& layer : row.layers) {
        database_.run("INSERT INTO container_layers(container, position, layer) VALUES(?, ?, ?)", container,
                      position++, layer_number(database_, layer, fmt::format("container '{}'", row.name)));
    }
}

void Catalogue::Write::set_container_state(const ContainerRow& row) {
    const std::int64_t changed = database_.run(
        "UPDATE containers SET state = ?, monitor_pid = ?, monitor_ticks = ?, monitor_boot = ?, init_pid = "
        "?, "
        "init_ticks = ?, init_boot = ?, exit_code = ?, created_at = ?, started_at = ?, finished_at = ? WHERE "
        "id = ?",
        row.state, pid_of(row.monitor), ticks_of(row.monitor), boot_of(row.monitor), pid_of(row.init),
        ticks_of(row.init), boot_of(row.init), row.exit_code, row.created_at, row.started_at, row.finished_at,
        row.id);
    require_container(database_, changed, row.id);
}

void Catalogue::Write::set_container_spec(const std::string& id, const std::string& spec) {
    require_container(database_, database_.run("UPDATE containers SET spec = ? WHERE id = ?", spec, id), id);
}

void Catalogue::Write::rename_container(const std::string& id, const std::string& name) {
    try {
        require_container(database_, database_.run("UPDATE containers SET name = ? WHERE id = ?", name, id),
                          id);
    } catch (const Error& error) {
        if (!Database::is_constraint(error)) throw;
        throw Error(Errc::conflict, fmt::format("there is a container named '{}' already", name))
            .hint("choose another name");
    }
}

void Catalogue::Write::remove_container(const std::string& id) {
    database_.run("DELETE FROM containers WHERE id = ?", id);
}

void Catalogue::Write::put_cache(const CacheRow& row) {
    std::optional<std::int64_t> layer;
    if (row.layer) layer = layer_number(database_, *row.layer, "a build step");
    database_.run(
        "INSERT INTO cache(key, parts, layer, used_at) VALUES(?, ?, ?, ?) "
        "ON CONFLICT(key) DO UPDATE SET parts = excluded.parts, layer = excluded.layer, used_at = "
        "excluded.used_at",
        row.key, row.parts_json, layer, row.used_at != 0 ? row.used_at : now());
}

void Catalogue::Write::touch_cache(const std::string& key) {
    database_.run("UPDATE cache SET used_at = ? WHERE key = ?", now(), key);
}

void Catalogue::Write::remove_cache(const std::string& key) {
    database_.run("DELETE FROM cache WHERE key = ?", key);
}

void Catalogue::Write::event(const std::string& type, const std::string& detail_json) {
    database_.run("INSERT INTO events(at, type, detail) VALUES(?, ?, ?)", now(), type, detail_json);
}

}  // namespace surcoat
