#include "layers/store/gc.h"

#include <fmt/format.h>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/store/fsck.h"

namespace surcoat::cmd {

Verb gc_verb() {
    struct Args {
        bool dry_run = false;
        bool keep_cache = false;
        bool force = false;
        bool all = false;
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "gc";
    verb.group = "System";
    verb.synopsis = "gc [-n] [--keep-cache]";
    verb.summary = "free what no image, container or running job needs";
    verb.aliases = {"prune"};
    verb.examples = {{"surcoat gc -n", "what would go, and what is kept and why"}};
    verb.declare = [args](Options& options) {
        options.flag("-n,--dry-run", args->dry_run, "only say it");
        options.flag("--keep-cache", args->keep_cache, "keep layers that only the build cache needs");
        options.flag("-f,--force", args->force, "docker's option; nothing is asked");
        options.flag("-a,--all", args->all, "docker's option");
    };
    verb.run = [args](Program& program) {
        const GcResult result = collect_garbage(program.store(), {args->dry_run, args->keep_cache});
        for (const GcKept& kept : result.kept) print(fmt::format("kept: {}  {}  {}\n", printable(kept.what), human_bytes(kept.bytes), printable(kept.why)));
        print(fmt::format("{}: {} images, {} layers, {} file contents, {} blobs, {} views, {} cached build steps, {} leftovers\n",
                          args->dry_run ? "would remove" : "removed", result.images, result.layers, result.objects, result.blobs, result.views, result.cache_steps,
                          result.leftovers));
        print(fmt::format("{} {} ({} bytes)\n", args->dry_run ? "would free" : "freed", human_bytes(result.bytes), result.bytes));
        return 0;
    };
    return verb;
}

Verb fsck_verb() {
    struct Args {
        bool deep = false;
        std::string format = "table";
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "fsck";
    verb.group = "System";
    verb.synopsis = "fsck [--deep]";
    verb.summary = "check the store's promises; with --deep every byte";
    verb.aliases = {"verify"};
    verb.declare = [args](Options& options) {
        options.flag("--deep", args->deep, "hash every content, make every layer's archive again");
        options.choice("--format", args->format, {"table", "json"}, "how to print");
    };
    verb.run = [args](Program& program) {
        const std::vector<Finding> findings = check_store(program.store(), {args->deep, &program.progress()});
        std::size_t errors = 0;
        Json items = Json::array();
        for (const Finding& finding : findings) {
            const bool error = finding.severity == Finding::Severity::error;
            errors += error ? 1 : 0;
            Json item = Json::object();
            item.set("severity", error ? "error" : "garbage").set("what", finding.what).set("problem", finding.problem).set("remedy", finding.remedy);
            items.push_back(std::move(item));
            if (args->format != "json") {
                print(fmt::format("{}: {}: {}{}\n", error ? "error" : "garbage", printable(finding.what), printable(finding.problem),
                                  finding.remedy.empty() ? "" : "   → " + finding.remedy));
            }
        }
        if (args->format == "json") {
            print(document(program.store(), "fsck", std::move(items)).dump(2) + "\n");
        } else {
            print(errors != 0 ? fmt::format("{} error{}, {} leftovers\n", errors, errors == 1 ? "" : "s", findings.size() - errors)
                  : findings.empty() ? std::string("the store is whole\n")
                                     : fmt::format("the store is whole; {} leftovers of ended processes, which `surcoat gc` removes\n", findings.size()));
        }
        return errors != 0 ? 1 : 0;
    };
    return verb;
}

}  // namespace surcoat::cmd
