def from_torch(*a): raise NotImplementedError
