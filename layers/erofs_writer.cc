#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "layers/base/error.h"
#include "layers/erofs.h"
#include "layers/erofs_format.h"

// The first pass over the tree gives every inode its place, the second writes the bytes in order. A
// directory's children get neighbouring inodes, because who lists a directory mostly wants their attributes
// too.

namespace surcoat {
namespace {

using namespace erofs;
using Node = Tree::Node;

constexpr std::size_t kFlushBytes = 1 << 20;
constexpr std::size_t kRedirectSize = 66;  // "/ab/" and 62 digits

/// A path that is only put together when somebody complains about it.
struct Where {
    const std::string& directory;
    std::string_view name;
};
[[noreturn]] void refuse(const Where& where, const std::string& why) {
    throw Error(Errc::invalid, fmt::format("'{}/{}' cannot be shown in a view: {}",
                                           printable(where.directory), printable(where.name), why));
}

struct Attribute {
    std::uint8_t index;
    std::string_view name;  // without the prefix
    std::string_view value;
};

struct Planned {
    const Node* node = nullptr;
    std::uint32_t parent = 0;  // plan index; of directories
    std::uint32_t links = 0;
    std::uint32_t attributes_size = 0;
    std::uint16_t format = kPlain;
    std::uint64_t size = 0;         // i_size
    std::uint64_t inline_size = 0;  // bytes behind the attributes
    std::uint64_t offset = 0;       // of the inode
    std::uint64_t block = 0;        // first of the blocks that are not inline
    const Inode& inode() const { return *node->inode; }
    std::uint64_t nid() const { return offset / kSlot; }
    std::uint64_t block_bytes() const {
        return format == kInline ? size - inline_size : format == kPlain ? size : 0;
    }
};

/// Nothing for names that Linux has no handler for (macOS' "com.apple.…", NFS ACLs): no mount could show
/// them.
std::optional<Attribute> split_attribute(std::string_view name, std::string_view value) {
    for (const auto& prefix : kPrefixes) {
        const bool whole = !prefix.text.ends_with('.');
        if (whole ? name == prefix.text : name.starts_with(prefix.text) && name.size() > prefix.text.size()) {
            return Attribute{prefix.index, name.substr(prefix.text.size()), value};
        }
    }
    return std::nullopt;
}

/// Calls `each` for the attributes that the image holds: the inode's own, then those that name its object.
template <typename Each>
void for_attributes(const Inode& inode, const std::string& redirect, Each&& each) {
    for (const auto& [name, value] : inode.xattrs) {
        if (const auto attribute = split_attribute(name, value)) each(*attribute);
    }
    if (!redirect.empty()) {
        // An empty metacopy is the kernel's version 0: no digest for fs-verity.
        each(*split_attribute(kMetacopy, {}));
        each(*split_attribute(kRedirect, redirect));
    }
}

std::string redirect_of(const Inode& inode) {
    if (inode.type != FileType::regular || inode.size == 0) return {};
    return object_redirect(*inode.object);
}

/// Calls `each(name, child)` in byte order; child is null for "." and "..".
template <typename Each>
void for_entries(const Node& directory, Each&& each) {
    constexpr std::string_view kDots[] = {".", ".."};
    std::size_t dot = 0;
    for (const auto& [name, child] : directory.children) {
        while (dot < 2 && kDots[dot] < name) each(kDots[dot++], static_cast<const Node*>(nullptr));
        each(std::string_view(name), &child);
    }
    while (dot < 2) each(kDots[dot++], static_cast<const Node*>(nullptr));
}

std::uint64_t directory_size(const Node& directory) {
    std::uint64_t full = 0;
    std::uint64_t used = 0;
    for_entries(directory, [&](std::string_view name, const Node*) {
        const std::uint64_t wanted = kDirentSize + name.size();
        if (used + wanted > kBlock) {
            full += kBlock;
            used = 0;
        }
        used += wanted;
    });
    return full + used;
}

/// Where everything lies.
class Plan {
  public:
    explicit Plan(const Tree& tree) {
        add(tree.root(), 0, Where{std::string(), {}});
        walk(tree);
        place();
    }

    const std::vector<Planned>& inodes() const { return inodes_; }
    const Planned& at(const Node& node) const { return inodes_[index_.at(key(node))]; }
    const Planned& at(std::uint32_t index) const { return inodes_[index]; }
    std::uint64_t inodes_end() const { return inodes_end_; }
    std::uint64_t blocks() const { return blocks_; }

  private:
    // Names of one inode share it; a directory is itself even if somebody shared its attributes.
    static const void* key(const Node& node) {
        return node.is_directory() ? static_cast<const void*>(&node)
                                   : static_cast<const void*>(node.inode.get());
    }

    void walk(const Tree& tree) {
        struct Waiting {
            const Node* node;
            std::string path;
        };
        std::vector<Waiting> waiting{{&tree.root(), ""}};
        std::vector<Waiting> below;
        while (!waiting.empty()) {
            const Waiting directory = std::move(waiting.back());
            waiting.pop_back();
            const std::uint32_t parent = index_.at(directory.node);
            for (const auto& [name, child] : directory.node->children) {
                if (name.empty() || name.size() > 255 || name == "." || name == ".." ||
                    name.find('/') != name.npos || name.find('\0') != name.npos) {
                    refuse({directory.path, name}, "this is not a file name");
                }
                add(child, parent, {directory.path, name});
                if (child.is_directory()) {
                    ++inodes_[parent].links;
                    if (!child.children.empty()) below.push_back({&child, directory.path + "/" + name});
                }
            }
            while (!below.empty()) {
                waiting.push_back(std::move(below.back()));
                below.pop_back();
            }
        }
    }

    void add(const Node& node, std::uint32_t parent, const Where& path) {
        const auto [at, fresh] = index_.try_emplace(key(node), static_cast<std::uint32_t>(inodes_.size()));
        if (!fresh) {
            ++inodes_[at->second].links;
            return;
        }
        const Inode& inode = *node.inode;
        check(inode, path);
        Planned planned;
        planned.node = &node;
        planned.parent = parent;
        planned.links = node.is_directory() ? 2 : 1;
        std::uint64_t attributes = 0;
        // Every redirect is as long as the next: making the real one can wait for the second pass.
        static const std::string kSomeRedirect(kRedirectSize, '/');
        const bool redirected = inode.type == FileType::regular && inode.size != 0;
        for_attributes(inode, redirected ? kSomeRedirect : std::string(), [&](const Attribute& attribute) {
            if (attribute.name.size() > 255 || attribute.value.size() > 65535) {
                refuse(path, fmt::format("its attribute '{}' is too large ({} bytes; at most 65,535 fit)",
                                         attribute.name, attribute.value.size()));
            }
            attributes += round_up(kAttributeHeader + attribute.name.size() + attribute.value.size(), 4);
        });
        if (attributes > 65534 * 4)
            refuse(path, fmt::format("its attributes are too large ({} bytes together)", attributes));
        planned.attributes_size =
            attributes == 0 ? 0 : static_cast<std::uint32_t>(kAttributesHeader + attributes);
        lay_out(planned);
        inodes_.push_back(planned);
    }

    static void check(const Inode& inode, const Where& path) {
        switch (inode.type) {
            case FileType::regular:
                if (inode.size != 0 && !inode.object)
                    refuse(path, fmt::format("no object for its {} bytes", inode.size));
                if (inode.size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
                    refuse(path, fmt::format("its size ({}) is beyond what a file can have", inode.size));
                }
                break;
            case FileType::symlink:
                if (inode.link_target.empty() || inode.link_target.size() > kMaxLinkTarget) {
                    refuse(path, fmt::format("a symlink's target must have 1 to {} bytes, this one has {}",
                                             kMaxLinkTarget, inode.link_target.size()));
                }
                break;
            case FileType::char_device:
            case FileType::block_device:
                if (inode.device_major > 0xFFF || inode.device_minor > 0xFFFFF) {
                    refuse(path, fmt::format("device {}:{} is beyond 12 and 20 bits", inode.device_major,
                                             inode.device_minor));
                }
                // overlayfs would take it for a whiteout.
                if (inode.type == FileType::char_device && inode.device_major == 0 &&
                    inode.device_minor == 0) {
                    refuse(path, "a character device 0:0 is a forged whiteout");
                }
                break;
            case FileType::directory:
            case FileType::fifo:
                break;
        }
    }

    static void lay_out(Planned& planned) {
        const Inode& inode = planned.inode();
        const std::uint64_t head = kInodeSize + planned.attributes_size;
        if (inode.type == FileType::regular && inode.size != 0) {
            planned.format = kChunks;
            planned.size = inode.size;
            planned.inline_size = 4 * chunk_count(inode.size);
        } else if (inode.type == FileType::directory || inode.type == FileType::symlink) {
            planned.size =
                inode.type == FileType::symlink ? inode.link_target.size() : directory_size(*planned.node);
            const std::uint64_t tail = planned.size % kBlock;
            if (tail != 0 && head + tail <= kBlock) {
                planned.format = kInline;
                planned.inline_size = tail;
            }
        }
    }

    void place() {
        std::uint64_t end = kBlock;
        for (Planned& planned : inodes_) {
            const std::uint64_t total = kInodeSize + planned.attributes_size + planned.inline_size;
            planned.offset = round_up(end, kSlot);
            if (planned.format == kInline &&
                planned.offset / kBlock != (planned.offset + total - 1) / kBlock) {
                planned.offset = round_up(planned.offset, kBlock);
            }
            end = planned.offset + total;
        }
        inodes_end_ = end;
        blocks_ = round_up(end, kBlock) / kBlock;
        for (Planned& planned : inodes_) {
            if (planned.block_bytes() == 0) continue;
            planned.block = blocks_;
            blocks_ += round_up(planned.block_bytes(), kBlock) / kBlock;
        }
        // xino keeps the upper half of an inode number for itself.
        if (inodes_end_ / kSlot > 0xFFFFFFFF || blocks_ > 0xFFFFFFFE) {
            throw Error(Errc::unsupported, fmt::format("the view is too large: {} inodes", inodes_.size()))
                .hint("split the image: its directory listing alone takes over 128 GiB");
        }
    }

    std::vector<Planned> inodes_;
    std::unordered_map<const void*, std::uint32_t> index_;
    std::uint64_t inodes_end_ = 0;
    std::uint64_t blocks_ = 0;
};

/// Bytes in order, in large pieces.
class Output {
  public:
    explicit Output(ByteSink& sink) : sink_(sink) { buffer_.reserve(kFlushBytes + (1 << 18)); }
    void append(std::string_view bytes) {
        buffer_ += bytes;
        if (buffer_.size() >= kFlushBytes) flush();
    }
    void zeros_to(std::uint64_t offset) {
        while (this->offset() < offset) {
            buffer_.resize(buffer_.size() + std::min<std::uint64_t>(offset - this->offset(), kBlock));
            if (buffer_.size() >= kFlushBytes) flush();
        }
    }
    std::uint64_t offset() const { return flushed_ + buffer_.size(); }
    void flush() {
        sink_.write(as_bytes(buffer_));
        flushed_ += buffer_.size();
        buffer_.clear();
    }

  private:
    ByteSink& sink_;
    std::string buffer_;
    std::uint64_t flushed_ = 0;
};

std::string superblock(const Plan& plan, const std::array<std::byte, 16>& uuid) {
    Timestamp newest;
    for (const Planned& planned : plan.inodes()) newest = std::max(newest, planned.inode().mtime);
    std::string block(kBlock, '\0');
    char* at = block.data() + kSuperOffset;
    put<std::uint32_t>(at + 0, kMagic);
    put<std::uint32_t>(at + 8, kCompatible);
    put<std::uint8_t>(at + 12, kBlockBits);
    put<std::uint16_t>(at + 14, plan.at(0u).nid());
    put<std::uint64_t>(at + 16, plan.inodes().size());
    put<std::uint64_t>(at + 24, newest.seconds);
    put<std::uint32_t>(at + 32, newest.nanoseconds);
    put<std::uint32_t>(at + 36, plan.blocks());
    std::memcpy(at + 48, uuid.data(), uuid.size());
    std::memcpy(at + 64, "surcoat", 7);
    put<std::uint32_t>(at + 80, kIncompatible);
    put<std::uint32_t>(at + 4, checksum(block.data()));
    return block;
}

/// All of a directory's data: whole blocks, the last one cut where its names end.
std::string directory_data(const Plan& plan, const Planned& self) {
    struct Item {
        std::string_view name;
        std::uint64_t nid;
        std::uint8_t type;
    };
    std::string data;
    data.reserve(self.size);
    std::vector<Item> items;
    std::size_t used = 0;
    const auto finish_block = [&](bool last) {
        const std::size_t start = data.size();
        data.resize(start + (last ? used : kBlock));
        std::size_t name_at = items.size() * kDirentSize;
        char* entry = data.data() + start;
        for (const Item& item : items) {
            put<std::uint64_t>(entry, item.nid);
            put<std::uint16_t>(entry + 8, name_at);
            put<std::uint8_t>(entry + 10, item.type);
            item.name.copy(data.data() + start + name_at, item.name.size());
            name_at += item.name.size();
            entry += kDirentSize;
        }
        items.clear();
        used = 0;
    };
    for_entries(*self.node, [&](std::string_view name, const Node* child) {
        if (used + kDirentSize + name.size() > kBlock) finish_block(false);
        used += kDirentSize + name.size();
        if (child == nullptr) {
            items.push_back({name, name == "." ? self.nid() : plan.at(self.parent).nid(),
                             dirent_type(FileType::directory)});
        } else {
            items.push_back({name, plan.at(*child).nid(), dirent_type(child->inode->type)});
        }
    });
    finish_block(true);
    return data;
}

std::string inode_head(const Planned& planned, std::uint32_t number) {
    const Inode& inode = planned.inode();
    std::string head(kInodeSize, '\0');
    char* at = head.data();
    put<std::uint16_t>(at + 0, planned.format);
    if (planned.attributes_size != 0)
        put<std::uint16_t>(at + 2, (planned.attributes_size - kAttributesHeader) / 4 + 1);
    put<std::uint16_t>(at + 4, mode_bits(inode.type) | (inode.mode & 07777));
    put<std::uint64_t>(at + 8, planned.size);
    std::uint32_t place = static_cast<std::uint32_t>(planned.block);
    if (inode.type == FileType::char_device || inode.type == FileType::block_device) {
        place = encode_device(inode.device_major, inode.device_minor);
    } else if (planned.format == kChunks) {
        place = chunk_bits(planned.size);
    }
    put<std::uint32_t>(at + 16, place);
    put<std::uint32_t>(at + 20, number);
    put<std::uint32_t>(at + 24, inode.uid);
    put<std::uint32_t>(at + 28, inode.gid);
    put<std::uint64_t>(at + 32, inode.mtime.seconds);
    put<std::uint32_t>(at + 40, inode.mtime.nanoseconds);
    put<std::uint32_t>(at + 44, planned.links);
    return head;
}

std::string attributes(const Planned& planned) {
    if (planned.attributes_size == 0) return {};
    std::string bytes(kAttributesHeader, '\0');
    bytes.reserve(planned.attributes_size);
    for_attributes(planned.inode(), redirect_of(planned.inode()), [&](const Attribute& attribute) {
        char header[kAttributeHeader];
        put<std::uint8_t>(header, attribute.name.size());
        put<std::uint8_t>(header + 1, attribute.index);
        put<std::uint16_t>(header + 2, attribute.value.size());
        bytes.append(header, sizeof header).append(attribute.name).append(attribute.value);
        bytes.resize(round_up(bytes.size(), 4));
    });
    return bytes;
}

}  // namespace

std::string object_redirect(const ObjectId& id) {
    const std::string hex = id.hex();
    return fmt::format("/{}/{}", std::string_view(hex).substr(0, 2), std::string_view(hex).substr(2));
}

void write_erofs(ByteSink& sink, const Tree& tree, const std::array<std::byte, 16>& uuid) {
    const Plan plan(tree);
    Output out(sink);
    out.append(superblock(plan, uuid));
    std::uint32_t number = 0;
    for (const Planned& planned : plan.inodes()) {
        out.zeros_to(planned.offset);
        out.append(inode_head(planned, ++number));
        out.append(attributes(planned));
        if (planned.format == kChunks) {
            out.append(std::string(planned.inline_size, '\xFF'));
        } else if (planned.format == kInline && planned.inode().type == FileType::symlink) {
            out.append(planned.inode().link_target);
        } else if (planned.format == kInline) {
            out.append(std::string_view(directory_data(plan, planned)).substr(planned.block_bytes()));
        }
    }
    for (const Planned& planned : plan.inodes()) {
        if (planned.block_bytes() == 0) continue;
        out.zeros_to(planned.block * kBlock);
        if (planned.inode().type == FileType::symlink) {
            out.append(planned.inode().link_target);
        } else {
            out.append(std::string_view(directory_data(plan, planned)).substr(0, planned.block_bytes()));
        }
    }
    out.zeros_to(plan.blocks() * kBlock);
    out.flush();
}

std::unordered_map<std::uint64_t, std::shared_ptr<const Inode>> erofs_inode_numbers(const Tree& tree) {
    const Plan plan(tree);
    std::unordered_map<std::uint64_t, std::shared_ptr<const Inode>> numbers;
    numbers.reserve(plan.inodes().size());
    for (const Planned& planned : plan.inodes()) {
        if (!planned.node->is_directory()) numbers.emplace(planned.nid(), planned.node->inode);
    }
    return numbers;
}

}  // namespace surcoat
