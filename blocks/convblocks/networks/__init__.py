"""Networks of the papers: each factory is ``f(num_classes=1000, in_chans=3, **options)``.

``num_classes=0`` leaves the classifier out (the pooled features come out); ``features_only`` gives the list of the
stages' feature maps instead.
"""
