#include "overlay/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <mutex>
#include <thread>

#include "overlay/kernel_overlay.h"
#include "overlay/mount.h"
#include "overlay/probe.h"
#include "tests/suites/union_suite.h"
#include "tests/support/requirements.h"

namespace surcoat::overlay {
namespace {

using namespace surcoat::test;

/// Runs `body` as the user 65534 in a child process; what it returns, or "error: …".
/// `as_root` prepares the child before it gives its privilege up.
std::string as_nobody(const std::function<std::string()>& body, const std::function<void()>& as_root = {}) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("make a pipe");
    UniqueFd reading(ends[0]);
    UniqueFd writing(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) throw_errno("fork");
    if (child == 0) {
        std::string text;
        try {
            if (as_root) as_root();
            if (::setgid(65534) != 0 || ::setuid(65534) != 0) throw_errno("become nobody");
            ::prctl(PR_SET_DUMPABLE, 1);  // else /proc/self belongs to root, and no id map can be written
            text = body();
        } catch (const std::exception& e) {
            text = std::string("error: ") + e.what();
        }
        const ssize_t written = ::write(ends[1], text.data(), text.size());
        ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
    }
    writing.reset();
    const std::string text = read_file(reading.get());
    wait_for(child);
    return text;
}

std::optional<std::string> cannot_enter_user_namespace() {
    if (::geteuid() != 0) return "changing users needs root";
    const std::string text = as_nobody([]() -> std::string {
        become_namespace_root();
        return "";
    });
    if (text.empty()) return std::nullopt;
    return text;
}

TempDir nobodys_directory() {
    TempDir directory;
    if (::chown(directory.path().c_str(), 65534, 65534) != 0) throw_errno("give a directory away");
    return directory;
}

}  // namespace

TEST_CASE("root is root, and needs no namespace", "[overlay][namespaces]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    CHECK(current_privilege() == Privilege::root);
    CHECK(has_id_range());
    become_namespace_root();
    CHECK(current_privilege() == Privilege::root);
    CHECK(upper_namespace() == OverlayNamespace::trusted);
}

TEST_CASE("a plain user has no privilege until it enters a namespace of its own", "[overlay][namespaces]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_enter_user_namespace());
    const std::string text = as_nobody([] {
        std::string said;
        said += current_privilege() == Privilege::none ? "none " : "wrong ";
        become_namespace_root();
        said += current_privilege() == Privilege::user_namespace ? "namespace " : "wrong ";
        said += std::to_string(::geteuid()) + ":" + std::to_string(::getegid());
        become_namespace_root();  // again: nothing happens
        return said;
    });
    CHECK(text == "none namespace 0:0");
}

TEST_CASE("a process with threads cannot enter a namespace, and is told so", "[overlay][namespaces]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_enter_user_namespace());
    const std::string text = as_nobody([]() -> std::string {
        std::mutex held;
        held.lock();
        std::thread other([&] { held.lock(); });
        std::string said;
        try {
            become_namespace_root();
            said = "entered";
        } catch (const Error& e) {
            said = e.what();
        }
        held.unlock();
        other.join();
        return said;
    });
    CHECK_THAT(text, Catch::Contains("several threads"));
}

TEST_CASE("in a user namespace views are mounted, changed and merged", "[overlay][namespaces][kernel]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_enter_user_namespace());
    const TempDir home = nobodys_directory();
    const std::string text = as_nobody([&]() -> std::string {
        become_namespace_root();
        ::setenv("TMPDIR", home.path().c_str(), 1);
        UnionFixture fixture(false);
        if (const auto fault = kernel_overlay_fault(*fixture.store)) return "fault: " + *fault;
        const auto upper = fixture.new_upper();
        std::string why;
        const std::string image = dump(*fixture.store->tree(fixture.lowers.layers));
        std::string shown;
        {
            const auto view = open_view(*fixture.store, fixture.lowers, upper, {}, &why);
            if (view->backend() != "kernel overlay") return "backend: " + why;
            if (const auto differs = difference(image, dump(*view)); !differs.empty()) return "image:\n" + differs;
            put_content(*view, "etc/motd", "changed\n");
            view->remove("dir/one", false);
            view->remove("opaque", true);
            view->make_directory("opaque", 0755);
            put_content(*view, "opaque/fresh", "fresh\n");
            if (errno_of([&] { view->rename("dir", "moved"); }) != EXDEV) return "a directory of the image was renamed";
            shown = dump(*view);
        }
        const auto library = open_view(*fixture.store, fixture.lowers, upper, {.backend = Backend::library});
        if (const auto differs = difference(shown, dump(*library)); !differs.empty()) return "library:\n" + differs;
        if (errno_of([&] { library->rename("dir", "moved"); }) != EXDEV) return "the library renamed a directory of the image";
        Transaction transaction(*fixture.store, "test");
        const Tree tree = container_tree(*fixture.store, fixture.lowers, upper, [&](int fd, std::uint64_t size) {
            return transaction.add_object_from(fd, size);
        });
        if (const auto differs = difference(shown, dump(tree)); !differs.empty()) return "tree:\n" + differs;
        put_content(*library, "empty", "by the library");
        library->remove("bin", true);
        shown = dump(*library);
        const auto again = open_view(*fixture.store, fixture.lowers, upper, {.backend = Backend::kernel});
        if (const auto differs = difference(shown, dump(*again)); !differs.empty()) return "kernel again:\n" + differs;
        return "ok";
    });
    CHECK(text == "ok");
}

TEST_CASE("with one id only, what is changed keeps the image's owner in the tree", "[overlay][namespaces]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_enter_user_namespace());
    const TempDir home = nobodys_directory();
    const std::string text = as_nobody([&]() -> std::string {
        become_namespace_root();
        if (has_id_range()) return "ok";  // a range is mapped for this user here: nothing to see
        ::setenv("TMPDIR", home.path().c_str(), 1);
        UnionFixture fixture(false);
        Transaction transaction(*fixture.store, "test");
        transaction.add_object(as_bytes("mail\n"));
        fixture.lowers.layers = {transaction.add_layer({add("spool", file("mail\n", 0640, 8, 12))})};
        transaction.commit();
        const auto upper = fixture.new_upper();
        {
            const auto view = open_view(*fixture.store, fixture.lowers, upper, {.backend = Backend::kernel});
            put_content(*view, "spool", "more mail\n");
            put_content(*view, "mine", "new\n");
        }
        Transaction second(*fixture.store, "test");
        const Tree tree = container_tree(*fixture.store, fixture.lowers, upper, [&](int fd, std::uint64_t size) {
            return second.add_object_from(fd, size);
        });
        const Inode& spool = *tree.find("spool")->inode;
        if (spool.uid != 8 || spool.gid != 12 || spool.mode != 0640 || spool.size != 10) return describe(spool);
        if (tree.find("mine")->inode->uid != 0) return "the new file is not root's";
        return "ok";
    });
    CHECK(text == "ok");
}

TEST_CASE("ranges of subordinate ids are mapped, and files can then belong to anybody", "[overlay][namespaces]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_enter_user_namespace());
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("newuidmap"));
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("newgidmap"));
    const TempDir home = nobodys_directory();
    write_file_durably(home.path() / "ids", "somebody:70000:10\n65534:200000:65536\n");
    const std::string text = as_nobody(
        [&]() -> std::string {
            become_namespace_root();
            if (!has_id_range()) return "one id only";
            ::setenv("TMPDIR", home.path().c_str(), 1);
            UnionFixture fixture(false);
            Transaction transaction(*fixture.store, "test");
            transaction.add_object(as_bytes("mail\n"));
            fixture.lowers.layers = {transaction.add_layer({add("spool", file("mail\n", 0640, 8, 12))})};
            transaction.commit();
            const auto upper = fixture.new_upper();
            const auto view = open_view(*fixture.store, fixture.lowers, upper, {.backend = Backend::kernel});
            if (view->stat("spool", false)->uid != 8) return "the image's owner is not shown";
            view->set_owner("spool", 33, 33);
            put_content(*view, "spool", "more\n");
            const Tree tree = container_tree(*fixture.store, fixture.lowers, upper, [](int, std::uint64_t) { return ObjectId{}; });
            const Inode& spool = *tree.find("spool")->inode;
            return spool.uid == 33 && spool.gid == 33 ? "ok" : describe(spool);
        },
        [&] {
            // In a mount namespace of its own, this machine's ranges are ours.
            if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
                throw_errno("make a mount namespace");
            }
            for (const char* ids : {"/etc/subuid", "/etc/subgid"}) {
                attach_at(clone_mount(home.path() / "ids").get(), ids);
            }
        });
    CHECK(text == "ok");
}

TEST_CASE("without any privilege the library view is taken, and says why", "[overlay][namespaces][library]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_enter_user_namespace());
    const TempDir home = nobodys_directory();
    const std::string text = as_nobody([&]() -> std::string {
        ::setenv("TMPDIR", home.path().c_str(), 1);
        UnionFixture fixture(false);
        std::string why;
        const auto view = open_view(*fixture.store, fixture.lowers, fixture.new_upper(), {}, &why);
        if (view->backend() != "library") return view->backend();
        if (const auto differs = difference(dump(*fixture.store->tree(fixture.lowers.layers)), dump(*view)); !differs.empty()) {
            return differs;
        }
        put_content(*view, "dir/sub/new", "written\n");
        view->remove("etc/motd", false);
        if (view->stat("dir/sub/new", false)->uid != 0) return "the owner is not shown as root";
        if (names_in(*view, "dir/sub") != "deep new ") return names_in(*view, "dir/sub");
        return why;
    });
    CHECK_THAT(text, Catch::StartsWith("using the library view, because this process is neither root nor"));
}

}  // namespace surcoat::overlay
