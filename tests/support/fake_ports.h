#pragma once
// The build engine's ports without a mount or a registry: images are values, and a command is a C++ function
// that changes a root in memory.
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/base/hash.h"
#include "layers/build/ports.h"
#include "layers/store/store.h"

namespace surcoat::test {

class FakeImages final : public build::ImageSource {
  public:
    std::map<std::string, Image> images;
    std::vector<std::string> asked;

    std::optional<Image> find(const std::string& reference, const Platform&) override {
        asked.push_back(reference);
        const auto found = images.find(reference);
        if (found == images.end()) return std::nullopt;
        return found->second;
    }
    std::vector<std::string> known_names() override {
        std::vector<std::string> names;
        for (const auto& [name, image] : images) names.push_back(name);
        return names;
    }
};

/// The root that a fake command sees. What it writes carries the time of the call, as a real command's files
/// do.
class FakeRoot {
  public:
    FakeRoot(Store& store, Tree root) : tree(std::move(root)), store_(store) {}
    Tree tree;

    bool exists(const std::string& path) const { return tree.find(path) != nullptr; }
    std::string read(const std::string& path) const {
        const Tree::Node* node = tree.find(path);
        if (node == nullptr)
            throw Error(Errc::not_found, "the fake command reads /" + path + ", which is not there");
        if (!node->inode->object) return {};
        if (const auto written = contents_.find(*node->inode->object); written != contents_.end())
            return written->second;
        return read_file(store_.open_object(*node->inode->object).get());
    }
    void write(const std::string& path, const std::string& content, std::uint16_t mode = 0644) {
        Inode inode;
        inode.mode = mode;
        inode.mtime = {std::time(nullptr), 123456789};
        inode.size = content.size();
        if (!content.empty()) {
            inode.object = ObjectId{sha256(as_bytes(content))};
            contents_[*inode.object] = content;
        }
        if (exists(path)) tree.remove(path);
        tree.put(path, std::make_shared<const Inode>(std::move(inode)));
    }
    void mkdir(const std::string& path, std::uint16_t mode = 0755) {
        Inode inode;
        inode.type = FileType::directory;
        inode.mode = mode;
        inode.mtime = {std::time(nullptr), 987654321};
        tree.put(path, std::make_shared<const Inode>(std::move(inode)));
    }
    void symlink(const std::string& path, const std::string& target) {
        Inode inode;
        inode.type = FileType::symlink;
        inode.mode = 0777;
        inode.link_target = target;
        inode.mtime = {std::time(nullptr), 5};
        tree.put(path, std::make_shared<const Inode>(std::move(inode)));
    }
    void remove(const std::string& path) { tree.remove(path); }

    /// The tree with its new contents in the transaction.
    Tree staged(Transaction& transaction) const {
        for (const auto& [id, content] : contents_) transaction.add_object(as_bytes(content));
        return tree;
    }

  private:
    Store& store_;
    std::map<ObjectId, std::string> contents_;
};

/// As much of a shell as the recorded recipes use: `echo WORDS`, `cat FILE`, `mkdir DIRECTORY`, `rm FILE`,
/// `true`, `exit N`, `> FILE` after each, `$NAME`, and `&&` between them. Throws Errc::not_found for anything
/// else.
inline int fake_shell(FakeRoot& root, const build::Command& command) {
    std::vector<std::vector<std::string>> lines(1);
    std::istringstream text(command.args.back());
    for (std::string word; text >> word;) {
        if (word == "&&") {
            lines.emplace_back();
            continue;
        }
        for (std::size_t at; (at = word.find('$')) != std::string::npos;) {
            const std::size_t end = std::min(
                word.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_", at + 1),
                word.size());
            const std::string name = word.substr(at + 1, end - at - 1) + "=";
            std::string value;
            for (const std::string& item : command.env) {
                if (item.starts_with(name)) value = item.substr(name.size());
            }
            word.replace(at, end - at, value);
        }
        lines.back().push_back(word);
    }
    const auto inside = [&](const std::string& path) {
        return path.starts_with('/')        ? path.substr(1)
               : command.working_dir == "/" ? path
                                            : command.working_dir.substr(1) + "/" + path;
    };
    for (std::vector<std::string>& words : lines) {
        std::optional<std::string> target;
        if (words.size() >= 2 && words[words.size() - 2] == ">") {
            target = inside(words.back());
            words.resize(words.size() - 2);
        }
        std::string output;
        const std::string program = words.empty() ? "" : words.front();
        if (program == "echo") {
            for (std::size_t i = 1; i < words.size(); ++i) output += (i > 1 ? " " : "") + words[i];
            output += "\n";
        } else if (program == "cat") {
            output = root.read(inside(words.at(1)));
        } else if (program == "mkdir") {
            root.mkdir(inside(words.at(1)));
        } else if (program == "rm") {
            root.remove(inside(words.at(1)));
        } else if (program == "exit") {
            return std::stoi(words.at(1));
        } else if (program != "true") {
            throw Error(Errc::not_found, "there is no program '" + program + "'");
        }
        if (target) root.write(*target, output);
    }
    return 0;
}

/// Returns the exit status.
using FakeCommand = std::function<int(FakeRoot& root, const build::Command& command)>;

class FakeWorkspaces final : public build::Workspaces {
  public:
    explicit FakeWorkspaces(Store& store) : store_(store) {}

    /// By the last argument: the whole text of a shell-form RUN. What is not here goes to fake_shell().
    std::map<std::string, FakeCommand> commands;
    std::vector<build::Command> ran;
    std::vector<std::string> kept;
    bool keep_fails = false;

    /// The text of all commands that ran, each in its brackets.
    std::string log() const {
        std::string text;
        for (const build::Command& command : ran) text += "[" + command.args.back() + "]";
        return text;
    }

    std::unique_ptr<build::Workspace> open(const std::vector<DiffId>& chain, const ImageConfig&) override {
        return std::make_unique<Root>(*this, FakeRoot(store_, *store_.tree(chain)));
    }

  private:
    class Root final : public build::Workspace {
      public:
        Root(FakeWorkspaces& owner, FakeRoot root) : owner_(owner), root_(std::move(root)) {}
        ExitStatus run(const build::Command& command,
                       const std::function<void(std::string_view)>& output) override {
            owner_.ran.push_back(command);
            const auto found = owner_.commands.find(command.args.back());
            output("running " + command.args.back() + "\n");
            return ExitStatus{.code = found == owner_.commands.end() ? fake_shell(root_, command)
                                                                     : found->second(root_, command)};
        }
        Tree tree(Transaction& transaction) override { return root_.staged(transaction); }
        std::string keep(const build::Command& failed) override {
            if (owner_.keep_fails) throw Error(Errc::no_space, "the disk is full");
            owner_.kept.push_back(failed.args.back());
            return "debug-1";
        }

      private:
        FakeWorkspaces& owner_;
        FakeRoot root_;
    };
    Store& store_;
};

}  // namespace surcoat::test
