"""The images: loaded, verified, split; downloaded where they are not here."""
