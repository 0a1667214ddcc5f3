#include <algorithm>
#include <unordered_map>
#include <utility>

#include "layers/tree.h"

// How hardlinks are compared. A group (all names of one inode) of `after` is unchanged when every name of it
// was, in `before`, a name of one and the same inode with the same attributes. Names that the group lost need
// only a whiteout. But a `before` group that fell apart into several groups with equal attributes may keep
// only one of them: the others would still be linked to it if they were left out.

namespace surcoat {
namespace {

using Node = Tree::Node;

bool same_attributes(const Inode& a, const Inode& b) {
    return &a == &b || a == b;
}

bool same_directory(const Inode& before, const Inode& after, bool with_times) {
    if (same_attributes(before, after)) return true;
    if (with_times || before.mtime == after.mtime) return false;
    Inode timeless = before;
    timeless.mtime = after.mtime;
    return timeless == after;
}

class HardlinkGroups {
  public:
    HardlinkGroups(const Tree& before, const Tree& after) {
        std::vector<const Inode*> order;
        walk_together(before, after, [&](const std::string&, const Node* old, const Node& now) {
            if (now.is_directory()) return;
            const auto [at, fresh] = groups_.try_emplace(now.inode.get());
            Group& group = at->second;
            if (fresh) order.push_back(now.inode.get());
            if (old == nullptr || old->is_directory() || !same_attributes(*old->inode, *now.inode)) {
                group.changed = true;
            } else if (group.before == nullptr) {
                group.before = old->inode.get();
            } else if (group.before != old->inode.get()) {
                group.changed = true;
            }
        });
        std::unordered_map<const Inode*, const Inode*> keepers;
        for (const Inode* inode : order) {
            Group& group = groups_.at(inode);
            if (!group.changed && keepers.try_emplace(group.before, inode).first->second != inode)
                group.changed = true;
        }
    }

    bool changed(const Inode* after) const { return groups_.at(after).changed; }
    /// The name that was written first; sets it to `path` the first time.
    const std::string& first_name(const Inode* after, const std::string& path) {
        std::string& first = groups_.at(after).first_name;
        if (first.empty()) first = path;
        return first;
    }

  private:
    struct Group {
        const Inode* before = nullptr;
        bool changed = false;
        std::string first_name;
    };
    std::unordered_map<const Inode*, Group> groups_;
};

/// Collects entries; directories above a change are written just before it.
class EntryWriter {
  public:
    void enter_directory(const std::string& path, const Inode& inode, bool changed) {
        leave_to(path);
        above_.push_back({path, &inode, path.empty()});
        if (changed) {
            above_.back().written = false;
            write_above();
        }
    }
    void write(Entry entry) {
        leave_to(entry.path);
        write_above();
        entries_.push_back(std::move(entry));
    }
    std::vector<Entry> take() && { return std::move(entries_); }

  private:
    struct Directory {
        std::string path;
        const Inode* inode;
        bool written;
    };
    void leave_to(const std::string& path) {
        while (!above_.empty()) {
            const std::string& top = above_.back().path;
            if (top.empty() || (path.size() > top.size() && path[top.size()] == '/' && path.starts_with(top)))
                break;
            above_.pop_back();
            written_ = std::min(written_, above_.size());
        }
    }
    void write_above() {
        for (std::size_t i = written_; i < above_.size(); ++i) {
            if (above_[i].written) continue;
            entries_.push_back(Entry{
                .kind = Entry::Kind::add, .path = above_[i].path, .inode = *above_[i].inode, .target = {}});
            above_[i].written = true;
        }
        written_ = above_.size();
    }
    std::vector<Directory> above_;
    std::size_t written_ = 0;  // how many of above_, from the root, are known to be written
    std::vector<Entry> entries_;
};

}  // namespace

void walk_together(
    const Tree& before, const Tree& after,
    const std::function<void(const std::string& path, const Node* before, const Node& after)>& visit) {
    using Children = std::map<std::string, Node, std::less<>>;
    struct Level {
        const Children* before;
        Children::const_iterator next, end, old;
        std::size_t path_size;
    };
    static const Children kNone;
    std::string path;
    std::vector<Level> levels;
    const auto enter = [&](const Node* old, const Node& now) {
        visit(path, old, now);
        if (now.children.empty()) return;
        const Children& then = old != nullptr ? old->children : kNone;
        levels.push_back({&then, now.children.begin(), now.children.end(), then.begin(), path.size()});
    };
    enter(&before.root(), after.root());
    while (!levels.empty()) {
        Level& level = levels.back();
        path.resize(level.path_size);
        if (level.next == level.end) {
            levels.pop_back();
            continue;
        }
        const auto& [name, node] = *level.next++;
        while (level.old != level.before->end() && level.old->first < name) ++level.old;
        const Node* old =
            level.old != level.before->end() && level.old->first == name ? &level.old->second : nullptr;
        if (!path.empty()) path += '/';
        path += name;
        enter(old, node);
    }
}

std::vector<Entry> diff_trees(const Tree& before, const Tree& after, bool directory_times) {
    HardlinkGroups groups(before, after);
    EntryWriter writer;
    walk_together(before, after, [&](const std::string& path, const Node* old, const Node& now) {
        if (now.is_directory()) {
            const bool was_directory = old != nullptr && old->is_directory();
            const bool changed = !was_directory || !same_directory(*old->inode, *now.inode, directory_times);
            writer.enter_directory(path, changed ? *now.inode : *old->inode, changed);
            if (!was_directory) return;
            auto kept = now.children.begin();
            for (const auto& [name, gone] : old->children) {
                while (kept != now.children.end() && kept->first < name) ++kept;
                if (kept != now.children.end() && kept->first == name) continue;
                Entry entry;
                entry.kind = Entry::Kind::whiteout;
                entry.path = path.empty() ? name : path + "/" + name;
                writer.write(std::move(entry));
            }
            return;
        }
        if (!groups.changed(now.inode.get())) return;
        Entry entry;
        entry.path = path;
        const std::string& first = groups.first_name(now.inode.get(), path);
        if (first == path) {
            entry.inode = *now.inode;
        } else {
            entry.kind = Entry::Kind::hardlink;
            entry.target = first;
        }
        writer.write(std::move(entry));
    });
    return std::move(writer).take();
}

}  // namespace surcoat
