"""The system of the report this kit grew from, working: ``source`` is the application, ``running`` runs it on a real
Redis with a real worker, ``record`` makes a case of it.
"""
