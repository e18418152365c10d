"""Archives of documents, bounded all together as they are unpacked: `archives.members` is the way in."""
