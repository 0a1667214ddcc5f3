#include "overlay/workspace.h"

#include <fcntl.h>
#include <unistd.h>

#include "layers/store/fsck.h"
#include "layers/store/gc.h"
#include "tests/suites/union_suite.h"
#include "tests/support/requirements.h"

namespace surcoat::overlay {
namespace {

using namespace surcoat::test;

std::optional<std::string> cannot_run() {
    if (auto why = cannot_mount()) return why;
    if (::access("/bin/busybox", X_OK) != 0) return "busybox-static is not installed";
    return std::nullopt;
}

/// A store with one layer: busybox and little else, not even /etc.
struct BusyboxStore {
    TempDir directory;
    std::unique_ptr<Store> store;
    std::vector<DiffId> chain;

    BusyboxStore() {
        StoreOptions options;
        options.root = directory.path() / "store";
        store = std::make_unique<Store>(options);
        Transaction transaction(*store, "test");
        const UniqueFd program = open_file("/bin/busybox", O_RDONLY);
        const auto size = static_cast<std::uint64_t>(stat_fd(program.get()).st_size);
        Inode busybox{.type = FileType::regular, .mode = 0755};
        busybox.size = size;
        busybox.object = transaction.add_object_from(program.get(), size);
        std::vector<Entry> entries{add("bin", test::directory()), add("bin/busybox", busybox)};
        for (const char* name : {"cat", "chmod", "echo", "false", "hostname", "id", "ls", "mkdir", "printenv", "pwd", "rm", "sh", "sleep", "touch"}) {
            entries.push_back(add(std::string("bin/") + name, test::symlink("busybox")));
        }
        entries.push_back(add("tmp", test::directory(01777)));
        chain = {transaction.add_layer(entries)};
        transaction.commit();
    }

    build::Command shell(const std::string& script) const {
        build::Command command;
        command.args = {"/bin/sh", "-c", script};
        command.env = {"PATH=/bin", "HOME=/", "WORD=hello"};
        return command;
    }
};

std::string run(build::Workspace& workspace, const build::Command& command, int expected = 0) {
    std::string output;
    const ExitStatus status = workspace.run(command, [&](std::string_view text) { output += text; });
    CHECK(status.shell_code() == expected);
    return output;
}

std::string changes(Store& store, const std::vector<DiffId>& chain, const Tree& after) {
    std::string text;
    for (const Entry& entry : diff_trees(*store.tree(chain), after)) {
        text += (entry.kind == Entry::Kind::whiteout ? "-" : "+") + entry.path + " ";
    }
    return text;
}

}  // namespace

TEST_CASE("a command runs in a workspace, and only what it changed is in the tree", "[overlay][workspace]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_run());
    BusyboxStore base;
    UnionWorkspaces workspaces(*base.store);
    {
        const auto workspace = workspaces.open(base.chain, {});
        CHECK(run(*workspace, base.shell("echo $WORD; echo error >&2; pwd; hostname")) == "hello\nerror\n/\nbuild\n");
        Transaction transaction(*base.store, "test");
        // /proc, /dev, /etc/resolv.conf and the rest were made to mount something there: not the command's work.
        CHECK(changes(*base.store, base.chain, workspace->tree(transaction)).empty());

        CHECK(run(*workspace, base.shell("mkdir /data; echo text > /data/file; rm /bin/sleep; touch /dev/none")).empty());
        CHECK(run(*workspace, base.shell("cat /data/file; false"), 1) == "text\n");
        const Tree tree = workspace->tree(transaction);
        CHECK(changes(*base.store, base.chain, tree) == "+bin -bin/sleep +data +data/file ");
        CHECK(tree.find("data/file")->inode->object == object_of("text\n"));
        const DiffId layer = transaction.add_layer(diff_trees(*base.store->tree(base.chain), tree));
        transaction.commit();
        CHECK(base.store->tree(std::vector<DiffId>{base.chain[0], layer})->find("data/file") != nullptr);
    }
    // Nothing of it stays.
    const GcResult gone = collect_garbage(*base.store, {.dry_run = true});
    CHECK(gone.leftovers == 0);
    CHECK(std::filesystem::is_empty(base.store->path("tx")));
}

TEST_CASE("users, environment, directory and files of a step are as asked", "[overlay][workspace]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_run());
    BusyboxStore base;
    const auto workspace = UnionWorkspaces(*base.store).open(base.chain, {});
    auto command = base.shell("id -u; id -g; pwd; cat /run/script");
    command.user = "1234:56";
    command.working_dir = "/tmp";
    command.files = {{"/run/script", "from the recipe\n"}};
    CHECK(run(*workspace, command) == "1234\n56\n/tmp\nfrom the recipe\n");
    Transaction transaction(*base.store, "test");
    CHECK(changes(*base.store, base.chain, workspace->tree(transaction)).empty());

    command.user = "nosuchuser";
    CHECK_THROWS_WITH(run(*workspace, command), Catch::Contains("nosuchuser"));
    auto missing = base.shell("");
    missing.args = {"nosuchprogram"};
    try {
        run(*workspace, missing);
        FAIL("ran");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::not_found);
    }
    CHECK(run(*workspace, base.shell("kill -9 $$"), 137).empty());
}

TEST_CASE("a link that dangles at /etc/resolv.conf leaves nothing behind", "[overlay][workspace]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_run());
    BusyboxStore base;
    Transaction transaction(*base.store, "test");
    base.chain.push_back(transaction.add_layer({add("etc", test::directory()), add("etc/resolv.conf", test::symlink("../run/resolve/stub.conf"))}));
    transaction.commit();
    const auto workspace = UnionWorkspaces(*base.store).open(base.chain, {});
    run(*workspace, base.shell("echo kept > /etc/file"));
    Transaction second(*base.store, "test");
    CHECK(changes(*base.store, base.chain, workspace->tree(second)) == "+etc +etc/file ");
}

TEST_CASE("a failed step's root can be kept as a container", "[overlay][workspace]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_run());
    BusyboxStore base;
    std::string name;
    {
        const auto workspace = UnionWorkspaces(*base.store).open(base.chain, {});
        const auto command = base.shell("echo half > /work; false");
        run(*workspace, command, 1);
        name = workspace->keep(command);
    }
    CHECK_THAT(name, Catch::StartsWith("debug-"));
    Containers containers(*base.store);
    const ContainerRow row = containers.get(name);
    CHECK(row.layers == base.chain);
    CHECK(content_at(*containers.view(row, true), "work") == "half\n");
    for (const Finding& finding : check_store(*base.store, {.deep = true})) {
        INFO(finding.what << ": " << finding.problem);
        CHECK(finding.severity == Finding::Severity::garbage);
    }
    containers.remove(name, true);
    CHECK(collect_garbage(*base.store, {}).images == 1);
}

}  // namespace surcoat::overlay
