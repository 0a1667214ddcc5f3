#pragma once
#include <functional>
#include <memory>
#include <string>

#include "layers/base/unique_fd.h"
#include "layers/tree.h"

namespace surcoat::build {

/// Something COPY can copy from: a build context, another stage's root, an image. The tree says what is
/// there; `open` gives a regular file's content. In a context, inodes have no object (contents are hashed
/// when they are asked for); in a stage or an image they do.
struct SourceTree {
    std::string name;  ///< for messages: "the context", "stage 'build'", "image 'base:1'"
    std::shared_ptr<const Tree> tree;
    /// By normalised path in `tree`, no symlink on the way.
    std::function<UniqueFd(const std::string& path, const Inode& inode)> open;
    /// The content's name, remembered for the life of the source.
    std::function<ObjectId(const std::string& path, const Inode& inode)> object;
    /// Files of a context belong to nobody: copies are root's. Those of a stage keep their owner.
    bool keep_owner = false;
};

}  // namespace surcoat::build
