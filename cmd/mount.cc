#include <fmt/format.h>
#include <unistd.h>

#include <csignal>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/base/process.h"
#include "overlay/container.h"
#include "overlay/namespaces.h"

namespace surcoat::cmd {

Verb mount_verb() {
    struct Args {
        std::vector<std::string> names;
        std::optional<std::string> at;
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "mount";
    verb.group = "Run";
    verb.synopsis = "mount [--at DIRECTORY] [CONTAINER…]";
    verb.summary = "mount containers' roots on this machine and print where; without names, list them";
    verb.examples = {{"cd \"$(surcoat mount web)\"", "its root, read and written through the union view"}};
    verb.declare = [args](Options& options) {
        options.value("--at", args->at, "the mount point (one container)", "DIRECTORY");
        options.arguments("CONTAINER", args->names, "name or ID", false);
    };
    verb.run = [args](Program& program) {
        overlay::Containers& containers = program.containers();
        if (args->names.empty()) {
            for (const ContainerRow& row : containers.list()) {
                if (const auto where = containers.mounted_at(row.id)) print(fmt::format("{}  {}\n", row.id.substr(0, 12), where->string()));
            }
            return 0;
        }
        if (overlay::current_privilege() == overlay::Privilege::none) {
            throw Error(Errc::denied, "mounting needs root or a user namespace").hint("as a plain user: surcoat unshare sh, then mount in there");
        }
        if (args->at && args->names.size() != 1) throw Error(Errc::invalid, "mount: --at takes one container");
        for (const std::string& name : args->names) {
            std::optional<std::filesystem::path> where;
            if (args->at) where = std::filesystem::absolute(*args->at);
            print(containers.mount(containers.get(name).id, where).string() + "\n");
        }
        return 0;
    };
    return verb;
}

Verb umount_verb() {
    struct Args {
        std::vector<std::string> names;
        bool all = false;
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "umount";
    verb.group = "Run";
    verb.synopsis = "umount CONTAINER…   or   umount -a";
    verb.summary = "take mounted roots away again";
    verb.aliases = {"unmount"};
    verb.declare = [args](Options& options) {
        options.flag("-a,--all", args->all, "all that are mounted");
        options.arguments("CONTAINER", args->names, "name or ID", false);
    };
    verb.run = [args](Program& program) {
        overlay::Containers& containers = program.containers();
        if (args->all) {
            for (const ContainerRow& row : containers.list()) {
                if (containers.unmount(row.id)) print(row.id.substr(0, 12) + "\n");
            }
            return 0;
        }
        if (args->names.empty()) throw Error(Errc::invalid, "umount: name a container, or -a for all");
        for (const std::string& name : args->names) {
            if (!containers.unmount(containers.get(name).id)) throw Error(Errc::conflict, fmt::format("container '{}' is not mounted", name));
            print(name + "\n");
        }
        return 0;
    };
    return verb;
}

Verb unshare_verb() {
    auto words = std::make_shared<std::vector<std::string>>();
    Verb verb;
    verb.name = "unshare";
    verb.group = "Run";
    verb.synopsis = "unshare [COMMAND…]";
    verb.summary = "run a command in the user namespace in which surcoat works for a plain user";
    verb.examples = {{"surcoat unshare sh -c 'ls \"$(surcoat mount web)\"'", "mounts made in there are seen in there only"}};
    verb.declare = [words](Options& options) { options.rest("COMMAND…", *words, "default: your shell"); };
    verb.run = [words](Program&) -> int {
        std::vector<std::string> command = *words;
        const char* shell = std::getenv("SHELL");
        if (command.empty()) command = {shell != nullptr && *shell != '\0' ? shell : "/bin/sh"};
        std::vector<char*> argv;
        for (std::string& word : command) argv.push_back(word.data());
        argv.push_back(nullptr);
        std::signal(SIGPIPE, SIG_DFL);  // ignored in here, but the command should have it as usual
        ::execvp(argv[0], argv.data());
        throw_errno(fmt::format("run '{}'", command[0]));
    };
    verb.needs_mounts = true;
    return verb;
}

}  // namespace surcoat::cmd
