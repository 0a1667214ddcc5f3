#include <fmt/format.h>

#include <map>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/store/usage.h"
#include "overlay/container.h"

namespace surcoat::cmd {
namespace {

struct Args {
    bool all = false;
    bool quiet = false;
    bool size = false;
    bool no_trunc = false;
    std::string format = "table";
};

std::string state_text(const ContainerRow& row) {
    if (row.state == "running") return "Up since " + human_age(row.started_at);
    if (row.state == "exited") return fmt::format("Exited ({}) {}", row.exit_code, human_age(row.finished_at));
    return "Created";
}

int run(Program& program, const Args& args) {
    std::vector<ContainerRow> rows = program.containers().list();
    if (!args.all) std::erase_if(rows, [](const ContainerRow& row) { return row.state != "running"; });
    if (args.quiet) {
        for (const ContainerRow& row : rows) print((args.no_trunc ? row.id : row.id.substr(0, 12)) + "\n");
        return 0;
    }
    std::map<std::string, ContainerUsage> usage;
    if (args.size) {
        for (ContainerUsage& one : container_usage(program.store(), true)) usage.emplace(one.id, one);
    }
    if (args.format == "json") {
        Json items = Json::array();
        for (const ContainerRow& row : rows) {
            Json item = Json::object();
            item.set("id", row.id).set("name", row.name).set("image", row.image_name).set("image_id", row.image.str());
            item.set("state", row.state).set("exit_code", row.exit_code).set("created_at", rfc3339(row.created_at));
            if (row.started_at != 0) item.set("started_at", rfc3339(row.started_at));
            if (row.finished_at != 0) item.set("finished_at", rfc3339(row.finished_at));
            if (row.init && row.state == "running") item.set("pid", std::int64_t{row.init->pid});
            if (args.size) item.set("own_bytes", usage[row.id].own).set("shared_bytes", usage[row.id].shared);
            items.push_back(std::move(item));
        }
        print(document(program.store(), "ps", std::move(items)).dump(2) + "\n");
        return 0;
    }
    std::vector<std::string> headings = {"CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"};
    if (args.size) headings.insert(headings.end(), {"OWN", "SHARED"});
    Table table(headings, args.size ? std::vector<std::size_t>{6, 7} : std::vector<std::size_t>{});
    for (const ContainerRow& row : rows) {
        std::string command;
        for (const std::string& word : overlay::ContainerSpec::from_json(row.spec).args) command += (command.empty() ? "" : " ") + word;
        command = printable(command);
        if (!args.no_trunc && command.size() > 28) command = command.substr(0, 27) + "…";
        std::vector<std::string> cells = {args.no_trunc ? row.id : row.id.substr(0, 12), row.image_name, "\"" + command + "\"", human_age(row.created_at), state_text(row), row.name};
        if (args.size) cells.insert(cells.end(), {human_bytes(usage[row.id].own), human_bytes(usage[row.id].shared)});
        table.row(std::move(cells));
    }
    table.print();
    return 0;
}

}  // namespace

Verb ps_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "ps";
    verb.group = "Run";
    verb.synopsis = "ps [-a] [-s]";
    verb.summary = "list containers";
    verb.examples = {{"surcoat ps -as", "all of them, with what each takes on disk of its own"}};
    verb.declare = [args](Options& options) {
        options.flag("-a,--all", args->all, "also those that do not run");
        options.flag("-q,--quiet", args->quiet, "only IDs");
        options.flag("-s,--size", args->size, "measure what each takes on disk");
        options.flag("--no-trunc", args->no_trunc, "whole IDs and commands");
        options.choice("--format", args->format, {"table", "json"}, "how to print");
    };
    verb.run = [args](Program& program) { return run(program, *args); };
    return verb;
}

}  // namespace surcoat::cmd
