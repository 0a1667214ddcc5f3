#pragma once
// A store, a context directory, images and fake commands: everything a build needs but a mount.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "layers/base/file.h"
#include "layers/base/temp_dir.h"
#include "layers/build/engine.h"
#include "layers/recipe/parse.h"
#include "layers/store/fsck.h"
#include "layers/store/gc.h"
#include "tests/support/fake_ports.h"
#include "tests/support/tree.h"

namespace surcoat::test {

class RecordingObserver final : public build::BuildObserver {
  public:
    std::vector<build::StepReport> steps;
    std::vector<std::string> warnings;
    std::string printed;

    void output(std::string_view text) override { printed += text; }
    void finished(const build::StepReport& step) override { steps.push_back(step); }
    void warning(const std::string& text) override { warnings.push_back(text); }

    /// "hit" or "run" for each step that makes a layer.
    std::string hits() const {
        std::string text;
        for (const build::StepReport& step : steps) {
            if (step.layer) text += (text.empty() ? "" : " ") + std::string(step.cached ? "hit" : "run");
        }
        return text;
    }
};

/// A directory on the host that COPY takes from. Files are made 0644 with one old time.
class ContextDirectory {
  public:
    static constexpr std::int64_t kTime = 981173106;

    std::filesystem::path path() const { return directory_.path(); }
    void file(const std::string& name, const std::string& content, mode_t mode = 0644,
              std::int64_t mtime = kTime) {
        const std::filesystem::path at = path() / name;
        std::filesystem::create_directories(at.parent_path());
        const UniqueFd fd = open_file(at, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        write_full(fd.get(), as_bytes(content));
        if (::fchmod(fd.get(), mode) != 0) throw_errno("chmod");
        touch(name, mtime);
    }
    void dir(const std::string& name, mode_t mode = 0755) {
        std::filesystem::create_directories(path() / name);
        if (::chmod((path() / name).c_str(), mode) != 0) throw_errno("chmod");
    }
    void link(const std::string& name, const std::string& target) {
        std::filesystem::create_directories((path() / name).parent_path());
        std::filesystem::create_symlink(target, path() / name);
    }
    void hardlink(const std::string& name, const std::string& target) {
        std::filesystem::create_hard_link(path() / target, path() / name);
    }
    void remove(const std::string& name) { std::filesystem::remove_all(path() / name); }
    void touch(const std::string& name, std::int64_t mtime) {
        const struct timespec times[2] = {{mtime, 0}, {mtime, 0}};
        if (::utimensat(AT_FDCWD, (path() / name).c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
            throw_errno("set a time");
    }

  private:
    TempDir directory_;
};

/// One store with the image "base", and a context.
class Builder {
    TempDir directory_;  // made first, removed last

  public:
    Builder() : Builder({}, Durability::fast) {}
    /// On a store that outlives it.
    explicit Builder(const std::filesystem::path& root, Durability durability)
        : store(StoreOptions{.root = root.empty() ? directory_.path() / "store" : root,
                             .durability = durability}),
          workspaces(store) {
        images.images["base"] = base_image();
    }

    /// What the last build told.
    RecordingObserver seen;
    ContextDirectory context;
    Store store;
    FakeImages images;
    FakeWorkspaces workspaces;

    /// The recipe is called "Dockerfile" in messages and lies outside the context.
    build::BuildResult build(const std::string& recipe, const build::BuildOptions& options = {}) {
        const std::filesystem::path file = directory_.path() / "Dockerfile";
        write_file_durably(file, recipe);
        build::BuildContext files(context.path(), file.string());
        const recipe::Recipe parsed = recipe::parse(files.recipe_text(), "Dockerfile");
        seen = {};
        workspaces.ran.clear();
        build::Engine engine(store, images, workspaces, seen);
        leases_.emplace_back(store, "test build");
        return engine.build(parsed, files, options, leases_.back());
    }

    /// The error that the build ends with; fails with Errc::failed if it succeeds.
    Error error(const std::string& recipe, const build::BuildOptions& options = {}) {
        try {
            build(recipe, options);
        } catch (const Error& e) { return e; }
        return Error(Errc::failed, "(the build succeeded)");
    }

    std::shared_ptr<const Tree> tree(const build::BuildResult& result) {
        return store.tree(result.image.layers);
    }
    /// A regular file's content; "(absent)" or "(a directory)" and so on for everything else.
    std::string content(const build::BuildResult& result, const std::string& path) {
        const Tree::Node* node = tree(result)->find(path);
        if (node == nullptr) return "(absent)";
        if (node->inode->type != FileType::regular)
            return "(a " + std::string(to_string(node->inode->type)) + ")";
        if (!node->inode->object) return {};
        return read_file(store.open_object(*node->inode->object).get());
    }
    /// What the build added or changed, one line a name: "path type mode uid:gid [content or target]".
    std::string added(const build::BuildResult& result) {
        const auto before = store.tree(
            std::vector<DiffId>(result.image.layers.begin(), result.image.layers.begin() + base_layers_));
        std::string text;
        tree(result)->walk([&](const std::string& path, const Tree::Node& node) {
            const Tree::Node* old = before->find(path);
            if (old != nullptr) {
                Inode same = *node.inode;
                if (node.is_directory()) same.mtime = old->inode->mtime;
                if (same == *old->inode) return;
            }
            const Inode& inode = *node.inode;
            const char* letter = inode.type == FileType::regular     ? "f"
                                 : inode.type == FileType::directory ? "d"
                                 : inode.type == FileType::symlink   ? "l"
                                                                     : "?";
            text += fmt::format("{} {} {:04o} {}:{}", path, letter, inode.mode, inode.uid, inode.gid);
            if (inode.type == FileType::regular && inode.size != 0) text += " " + content(result, path);
            if (inode.type == FileType::symlink) text += " " + inode.link_target;
            text += "\n";
        });
        return text;
    }
    /// Ends the leases of the builds so far; the base image stays.
    void let_go() { leases_.erase(std::next(leases_.begin()), leases_.end()); }
    void on(const std::string& text, FakeCommand command) { workspaces.commands[text] = std::move(command); }
    std::string problems() {
        std::string text;
        for (const Finding& f : check_store(store, {.deep = true})) {
            if (f.severity == Finding::Severity::error) text += f.what + ": " + f.problem + "\n";
        }
        return text;
    }

  private:
    Image base_image() {
        Transaction tx(store, "test base");
        std::vector<Entry> entries;
        const auto directory_at = [&](const std::string& path) { entries.push_back(add(path, directory())); };
        const auto file_at = [&](const std::string& path, const std::string& text,
                                 std::uint16_t mode = 0644) {
            Inode inode = test::file(text, mode);
            inode.mtime = {1'600'000'000, 0};
            if (!text.empty()) inode.object = tx.add_object(as_bytes(text));
            entries.push_back(add(path, inode));
        };
        directory_at("bin");
        file_at("bin/sh", "#!fake", 0755);
        directory_at("etc");
        file_at("etc/group", "root:x:0:\nstaff:x:50:\napp:x:1000:\n");
        file_at("etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nodd:x:7:50::/:/bin/sh\n");
        directory_at("srv");
        file_at("srv/old.txt", "old");
        entries.push_back(hardlink("srv/other-name.txt", "srv/old.txt"));
        entries.push_back(add("to-srv", symlink("srv")));
        entries.push_back(add("to-nowhere", symlink("/not/there")));
        Image image;
        image.platform = Platform::host();
        image.created = "2020-01-02T03:04:05Z";
        image.config.env = {"PATH=/bin", "BASE=yes"};
        image.config.cmd = {"sh"};
        image.layers = {tx.add_layer(entries)};
        image.history = {{.created = "2020-01-02T03:04:05Z",
                          .created_by = "base",
                          .author = {},
                          .comment = {},
                          .empty_layer = false}};
        tx.commit();
        leases_.emplace_back(store, "the test's base image");
        leases_.back().hold_layers(image.layers);
        return image;
    }

    static constexpr std::size_t base_layers_ = 1;
    std::list<Lease> leases_;  ///< the base image's first
};

}  // namespace surcoat::test
