#include <fmt/format.h>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/store/usage.h"
#include "overlay/container.h"
#include "registry/image_store.h"

namespace surcoat::cmd {
namespace {

Json describe_container(Program& program, const ContainerRow& row) {
    Json item = Json::object();
    item.set("type", "container").set("id", row.id).set("name", row.name).set("image", row.image_name).set("image_id", row.image.str());
    item.set("state", row.state).set("exit_code", row.exit_code).set("created_at", rfc3339(row.created_at));
    if (row.started_at != 0) item.set("started_at", rfc3339(row.started_at));
    if (row.finished_at != 0) item.set("finished_at", rfc3339(row.finished_at));
    if (row.init && row.state == "running") item.set("pid", std::int64_t{row.init->pid});
    Json layers = Json::array();
    for (const DiffId& layer : row.layers) layers.push_back(layer.str());
    item.set("layers", std::move(layers));
    const overlay::UpperLayer upper = program.containers().upper(row);
    item.set("upper", upper.upper.string());
    if (const auto mounted = program.containers().mounted_at(row.id)) item.set("mounted_at", mounted->string());
    item.set("own_bytes", directory_usage(program.store().container_directory(row.id)).bytes);
    item.set("spec", Json::parse(row.spec, "the container's specification"));
    return item;
}

Json describe_image(Program& program, const registry::StoredImage& image) {
    Json item = Json::object();
    item.set("type", "image").set("id", image.row.id.str()).set("manifest", image.row.manifest.str());
    Json names = Json::array();
    for (const NameRow& name : program.store().catalogue().names_of(image.row.id)) names.push_back(registry::Reference::parse(name.name).familiar());
    item.set("names", std::move(names)).set("added_at", rfc3339(image.row.added_at));
    // The documents as they are stored: nothing that another tool wrote into them is lost.
    item.set("config", Json::parse(program.store().read_blob(image.row.id), "the image's configuration"));
    item.set("manifest_document", Json::parse(program.store().read_blob(image.row.manifest), "the image's manifest"));
    Json layers = Json::array();
    for (const DiffId& id : image.row.layers) {
        const auto row = program.store().catalogue().layer(id);
        Json layer = Json::object();
        layer.set("diff_id", id.str()).set("archive_bytes", row->archive_bytes).set("content_bytes", row->content_bytes).set("entries", row->entries);
        layers.push_back(std::move(layer));
    }
    item.set("layers", std::move(layers));
    return item;
}

}  // namespace

Verb inspect_verb() {
    auto names = std::make_shared<std::vector<std::string>>();
    Verb verb;
    verb.name = "inspect";
    verb.group = "Look";
    verb.synopsis = "inspect CONTAINER|IMAGE…";
    verb.summary = "everything known about containers and images, as JSON";
    verb.declare = [names](Options& options) { options.arguments("NAME", *names, "container or image, by name or ID"); };
    verb.run = [names](Program& program) {
        Json items = Json::array();
        for (const std::string& name : *names) {
            std::optional<ContainerRow> row;
            try {
                row = program.containers().get(name);
            } catch (const Error& error) {
                if (error.code() != Errc::not_found) throw;
            }
            if (row) {
                items.push_back(describe_container(program, *row));
            } else if (const auto image = program.images().find_image(name)) {
                items.push_back(describe_image(program, *image));
            } else {
                throw Error(Errc::not_found, fmt::format("there is neither a container nor an image '{}'", name)).hint("see `surcoat ps -a` and `surcoat images`");
            }
        }
        print(document(program.store(), "inspect", std::move(items)).dump(2) + "\n");
        return 0;
    };
    return verb;
}

}  // namespace surcoat::cmd
